"""Figures and animations. matplotlib and Pillow are loaded here, when something is drawn, and nowhere else."""

from metarl_jax.viz.beliefs import animate_belief, draw_belief, has_belief
from metarl_jax.viz.credit import credit_weights, draw_credit
from metarl_jax.viz.curves import plot_metrics, plot_report
from metarl_jax.viz.replay import animate_trial, draw_distribution, has_picture
from metarl_jax.viz.task_buffer import draw_task_buffer
from metarl_jax.viz.trials import animate, draw_tasks

__all__ = [
    "animate",
    "animate_belief",
    "animate_trial",
    "credit_weights",
    "draw_belief",
    "draw_credit",
    "draw_distribution",
    "draw_task_buffer",
    "draw_tasks",
    "has_belief",
    "has_picture",
    "plot_metrics",
    "plot_report",
]
