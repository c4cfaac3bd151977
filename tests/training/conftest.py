"""One torch thread, as in every run whose result must be the same to the bit."""

import torch

torch.set_num_threads(1)
