"""Everything that `bundle` raises on purpose.

BundleError
├── ManifestError        manifest.json is missing, truncated, of an unknown schema or has unknown keys
├── DamagedBundleError   a file is missing, has other bytes than the manifest says, or disagrees with the golden outputs
├── NotFoundError        no such model, version or alias
├── PublishError         what is to be published is incomplete or badly named
├── PriorError           parameters of a prior that make no sense
└── LatentError          seeds, indices or codes that make no sense
"""


class BundleError(Exception):
    """Base of all errors of the bundle format."""


class ManifestError(BundleError):
    """The manifest cannot be read as this program's schema."""


class DamagedBundleError(BundleError):
    """A file of the bundle is not what the manifest says."""


class NotFoundError(BundleError):
    """The store has no such model, version or alias."""


class PublishError(BundleError):
    """The bundle cannot be published as it is."""


class PriorError(BundleError, ValueError):
    """A prior's parameters make no sense."""


class LatentError(BundleError, ValueError):
    """A seed, an index or a latent code makes no sense."""
