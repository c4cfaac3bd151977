"""From the store to those who ask: changes of aliases, and news of what was published."""
