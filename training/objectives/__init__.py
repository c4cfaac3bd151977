"""Objectives: pure functions of named tensors."""
