"""Networks: `nn.Module`s that know tensors and nothing of losses or recipes."""
