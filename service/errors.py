"""Everything that the service answers with a problem document (RFC 9457), each with a stable code and a status.

ServiceError
├── RequestError                    4xx: the caller can mend it
│   ├── InvalidRequestError         422 invalid_request   a field is unknown, missing, of a wrong type or out of range
│   ├── MalformedBodyError          400 malformed_body       the body is no JSON, no multipart, no .npy
│   ├── BodyTooLargeError           413 body_too_large
│   ├── UnsupportedMediaTypeError   415 unsupported_media_type   of the body
│   ├── NotAcceptableError          406 not_acceptable       no format in Accept can carry the answer
│   ├── ImageError                  422 invalid_image        not an image, truncated, or too many pixels
│   ├── LatentShapeError            422 invalid_latents      wrong shape, NaN or infinite
│   ├── UnknownModelError           404 unknown_model
│   ├── RouteNotFoundError          404 not_found
│   ├── MethodNotAllowedError       405 method_not_allowed
│   ├── ModelRefusedError           409 model_refused        its bundle was refused when it was loaded; says why
│   ├── VersionNotLoadedError       409 version_not_loaded   it is in the store, but too old to stay loaded
│   ├── NoVersionBeforeError        409 no_version_before    an alias has nothing that it could be rolled back to
│   ├── StoreReadOnlyError          409 store_read_only      aliases cannot be changed from here
│   ├── UnknownJobError             404 unknown_job          no such training job, or no such picture of it
│   ├── UnknownRecipeError          404 unknown_recipe
│   ├── TrainingOffError            404 training_off         this service takes no training jobs
│   ├── JobStateError               409 job_state            the job is in a state that does not allow this
│   ├── IdempotencyKeyError         422 idempotency_key_reused   the same key came with another body before
│   ├── UploadTooLargeError         413 upload_too_large     a data set has more bytes, images or pixels than are taken
│   ├── UploadFormatError           415 upload_format        a data set is neither a zip nor an .npz
│   ├── InvalidUploadError          422 invalid_upload       a data set cannot be used; says what to change
│   ├── UploadTooSlowError          408 upload_too_slow      a data set took too long to arrive or to be read
│   ├── UnknownDataError            404 unknown_data         no such uploaded data set
│   ├── DataInUseError              409 data_in_use          a job that has not ended needs the data set
│   ├── DataDamagedError            409 data_damaged         an uploaded data set cannot be read any more
│   ├── GraphMissingError           409 graph_missing        the model cannot do this; names those that can
│   └── PriorMissingError           409 prior_missing        an autoencoder without a prior cannot sample
├── OverloadedError                 503 overloaded           with Retry-After: the queue is full, or too long
├── DeadlineError                   504 deadline_exceeded    the deadline passed, or would before the answer
├── NotReadyError                   503 not_ready        models are still being loaded, or none can be
├── StoppingError                   503 stopping             the service is shutting down
├── StorageFullError            507 storage_full         the quota of data sets, or the disk, is full
├── DatabaseUnavailableError        503 database_unavailable   the jobs' database does not answer; with Retry-After
├── ModelUnavailableError           503 model_unavailable    no lane is left to run it
├── RuntimeFailedError              500 runtime_failed       the graph could not be run
└── InternalError                   500 internal             a fault of ours; the log has the rest

StartupError                        ends the program at start: settings or devices that cannot be
"""

from typing import ClassVar


class ServiceError(Exception):
    """Base: `detail` says what came, what was expected and what to do next."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, retry_after_s: float | None = None, **extra: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.extra = extra  # further members of the problem document, such as the models that can


class RequestError(ServiceError):
    """The caller can mend it."""

    status, code, title = 400, "bad_request", "Bad request"


class InvalidRequestError(RequestError):
    """A field is unknown, missing, of a wrong type or out of range."""

    status, code, title = 422, "invalid_request", "The request is not valid"


class MalformedBodyError(RequestError):
    """The body cannot be parsed as what its content type says."""

    status, code, title = 400, "malformed_body", "The body cannot be read"


class BodyTooLargeError(RequestError):
    """The body has more bytes than the service takes."""

    status, code, title = 413, "body_too_large", "The body is too large"


class UnsupportedMediaTypeError(RequestError):
    """The endpoint does not read bodies of this type."""

    status, code, title = 415, "unsupported_media_type", "The content type is not supported"


class NotAcceptableError(RequestError):
    """None of the formats in `Accept` can carry the answer."""

    status, code, title = 406, "not_acceptable", "No acceptable format"


class ImageError(RequestError):
    """An uploaded image cannot be used."""

    status, code, title = 422, "invalid_image", "The image cannot be used"


class LatentShapeError(RequestError):
    """Latent codes of a wrong shape, or not finite."""

    status, code, title = 422, "invalid_latents", "The latents cannot be used"


class UnknownModelError(RequestError):
    """There is no such model, version or alias."""

    status, code, title = 404, "unknown_model", "Unknown model"


class RouteNotFoundError(RequestError):
    """There is no such path."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowedError(RequestError):
    """The path is there, but not with this method."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class ModelRefusedError(RequestError):
    """The model's bundle is damaged, half-published or does not do what it says, and was refused when it was loaded."""

    status, code, title = 409, "model_refused", "The model's bundle was refused"


class VersionNotLoadedError(RequestError):
    """The version is in the store, but older than those that stay loaded, and has no alias."""

    status, code, title = 409, "version_not_loaded", "The model's version is not loaded"


class GraphMissingError(RequestError):
    """The model lacks the graph that the endpoint needs."""

    status, code, title = 409, "graph_missing", "The model cannot do this"


class PriorMissingError(RequestError):
    """The model has no prior to draw latents from."""

    status, code, title = 409, "prior_missing", "The model has no prior"


class NoVersionBeforeError(RequestError):
    """An alias has meant nothing before that it could be rolled back to."""

    status, code, title = 409, "no_version_before", "There is no version before"


class StoreReadOnlyError(RequestError):
    """The store cannot be written to."""

    status, code, title = 409, "store_read_only", "The store is read-only"


class UnknownJobError(RequestError):
    """There is no such training job, or no such picture of it."""

    status, code, title = 404, "unknown_job", "Unknown job"


class UnknownRecipeError(RequestError):
    """There is no such recipe among those that the service knows."""

    status, code, title = 404, "unknown_recipe", "Unknown recipe"


class TrainingOffError(RequestError):
    """The service is set to take no training jobs."""

    status, code, title = 404, "training_off", "Training is off"


class JobStateError(RequestError):
    """The job's state does not allow what was asked for."""

    status, code, title = 409, "job_state", "The job's state does not allow this"


class IdempotencyKeyError(RequestError):
    """An idempotency key that came with another body before."""

    status, code, title = 422, "idempotency_key_reused", "The idempotency key was used before"


class UploadTooLargeError(RequestError):
    """A data set has more bytes, entries, images or pixels than are taken, or unpacks as bombs do."""

    status, code, title = 413, "upload_too_large", "The data set is too large"


class UploadFormatError(RequestError):
    """A data set is neither a zip nor an `.npz`."""

    status, code, title = 415, "upload_format", "The data set is of a wrong format"


class InvalidUploadError(RequestError):
    """A data set that cannot be used as it is."""

    status, code, title = 422, "invalid_upload", "The data set cannot be used"


class UploadTooSlowError(RequestError):
    """A data set took too long to arrive, or to be read."""

    status, code, title = 408, "upload_too_slow", "The upload took too long"


class UnknownDataError(RequestError):
    """There is no such uploaded data set."""

    status, code, title = 404, "unknown_data", "Unknown data set"


class DataInUseError(RequestError):
    """A job that has not ended needs the data set."""

    status, code, title = 409, "data_in_use", "The data set is in use"


class DataDamagedError(RequestError):
    """An uploaded data set cannot be read any more."""

    status, code, title = 409, "data_damaged", "The data set is damaged"


class OverloadedError(ServiceError):
    """The queue is full, or too long for the deadline; decided on arrival."""

    status, code, title = 503, "overloaded", "Overloaded"


class DeadlineError(ServiceError):
    """The caller's deadline has passed or cannot be met."""

    status, code, title = 504, "deadline_exceeded", "Deadline exceeded"


class NotReadyError(ServiceError):
    """The models are still being loaded, or none can be."""

    status, code, title = 503, "not_ready", "Not ready"


class StoppingError(ServiceError):
    """The service is shutting down and takes no new work."""

    status, code, title = 503, "stopping", "Shutting down"


class StorageFullError(ServiceError):
    """The quota of uploaded data sets, or the disk, is full."""

    status, code, title = 507, "storage_full", "No room for the data set"


class DatabaseUnavailableError(ServiceError):
    """The database of the training jobs does not answer; all that needs none goes on."""

    status, code, title = 503, "database_unavailable", "The jobs' database is not available"


class ModelUnavailableError(ServiceError):
    """No lane is left to run the model."""

    status, code, title = 503, "model_unavailable", "The model is not available"


class RuntimeFailedError(ServiceError):
    """The graph could not be run on these inputs."""

    status, code, title = 500, "runtime_failed", "The model failed"


class InternalError(ServiceError):
    """A fault of ours."""


class StartupError(Exception):
    """The service cannot start as it is set; the message says what there is instead."""
