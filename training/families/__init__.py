"""Families: what each kind of model trains and what it exports."""
