"""Helm releases and what really serves behind them."""
