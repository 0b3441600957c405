"""Crowd-Informed Fine-Tuning: fine-tune on what a crowd found informative, measure ability on its scale."""

__version__ = "0.1.0"
