"""What can go wrong. Evaluations never raise: they answer with the default and an error code."""


class SluiceError(Exception):
    """The base of all errors of this package."""


class ConfigError(SluiceError, ValueError):
    """A setting of the client that cannot work; the message names it."""


class JoinError(SluiceError):
    """The client could not join the fleet. status is the server's answer, 0 if there was none; code its stable code."""

    def __init__(self, text: str, status: int = 0, code: str = ""):
        super().__init__(text)
        self.status = status
        self.code = code


class ContentError(SluiceError, ValueError):
    """A configuration, message or pin that is not what it should be. code is stable, as in Go."""

    def __init__(self, code: str, text: str):
        super().__init__(f"{text} ({code})")
        self.code = code


class CacheError(SluiceError, OSError):
    """The disk cache cannot be read or written."""


class RemoteError(SluiceError):
    """An agent or server did not answer an evaluation. status is its answer, 0 if there was none."""

    def __init__(self, text: str, status: int = 0, code: str = ""):
        super().__init__(text)
        self.status = status
        self.code = code
