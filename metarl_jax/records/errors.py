"""Users' mistakes."""


class ConfigError(ValueError):
    """A user's mistake: names the field, the value and the fix. Raised before anything is compiled."""
