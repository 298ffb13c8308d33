"""Exact answers on plain arrays: optimal and Bayes-optimal control of known models. Knows no task family."""

from metarl_jax.planning.bandits import BanditReference as BanditReference
from metarl_jax.planning.bandits import bernoulli_reference as bernoulli_reference
from metarl_jax.planning.bandits import gittins_indices as gittins_indices
from metarl_jax.planning.bandits import gittins_value as gittins_value
from metarl_jax.planning.bandits import many_armed_value as many_armed_value
from metarl_jax.planning.bandits import simulate_index_policy as simulate_index_policy
from metarl_jax.planning.bandits import two_armed_value as two_armed_value
from metarl_jax.planning.dependent_bandits import DependentReference as DependentReference
from metarl_jax.planning.dependent_bandits import dependent_reference as dependent_reference
from metarl_jax.planning.dynamic_programming import UNREACHABLE as UNREACHABLE
from metarl_jax.planning.dynamic_programming import Solution as Solution
from metarl_jax.planning.dynamic_programming import backward_induction as backward_induction
from metarl_jax.planning.dynamic_programming import policy_value as policy_value
from metarl_jax.planning.dynamic_programming import shortest_paths as shortest_paths
from metarl_jax.planning.dynamic_programming import table_backward_induction as table_backward_induction
from metarl_jax.planning.dynamic_programming import table_policy_value as table_policy_value
from metarl_jax.planning.dynamic_programming import table_value_iteration as table_value_iteration
from metarl_jax.planning.dynamic_programming import value_iteration as value_iteration
from metarl_jax.planning.hidden_goal import HiddenGoal as HiddenGoal
from metarl_jax.planning.hidden_goal import hidden_goal_return as hidden_goal_return
from metarl_jax.planning.hidden_goal import known_goal_values as known_goal_values
from metarl_jax.planning.hidden_goal import random_return as random_return
