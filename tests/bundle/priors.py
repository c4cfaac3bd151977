"""One prior of each kind and shape, for the tests."""

from bundle.priors import Categorical, Mixture, Normal, Prior, Product, Sphere, SwissRoll, Uniform

MIXTURE = Mixture(
    weights=[0.2, 0.5, 0.3],
    means=[[0.0, 0.0], [4.0, -1.0], [-3.0, 5.0]],
    scale_tril=[[[1.0, 0.0], [0.5, 0.3]], [[0.2, 0.0], [0.0, 2.0]], [[0.7, 0.0], [-0.6, 0.4]]],
)
PRIORS: list[Prior] = [
    Normal(dim=1),
    Normal(dim=7),
    Uniform(dim=3, low=-2.0, high=5.0),
    Sphere(dim=2),
    Sphere(dim=5),
    MIXTURE,
    SwissRoll(scale=2.0, turns=1.5, noise=0.1),
    Categorical(dim=4),
    Categorical(dim=3, probabilities=[0.5, 0.2, 0.3]),
    Product(parts=[Normal(dim=3), Categorical(dim=4), Uniform(dim=2)]),
    Product(parts=[Product(parts=[SwissRoll(noise=0.2), Sphere(dim=3)]), MIXTURE]),
]
