"""How good a model is: figures measured on its exported graphs, each beside the figure that real data gets.

Arrays go in and numbers come out; nothing here knows a family. `report.evaluate` measures whatever the graphs allow.
"""
