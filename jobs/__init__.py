"""The ledger of training jobs: what is to be trained, by whom, how far it is, what came of it.

One database holds the truth. The service writes orders into it and reads what happened; workers take orders and report.
Imports neither torch nor the web stack nor the queue, so that both sides can use it.
"""
