"""An OpenFeature provider over a client. It needs the package openfeature-sdk.

    from openfeature import api
    from sluice.openfeature import SluiceProvider

    api.set_provider(SluiceProvider(client))

Inside `with client.begin(unit)` evaluations belong to that request and count as its evidence, unless the evaluation context
names another targeting key. Outside of a request the context's targeting key is the unit; the answer is the same, but nothing
tells how the work went. `track(name, details)` with a value observes it in the current request.
"""

import threading
from typing import Any, Dict, Mapping, Optional, Sequence, Tuple, Union

from openfeature.evaluation_context import EvaluationContext
from openfeature.event import ProviderEventDetails
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagResolutionDetails
from openfeature.provider import AbstractProvider, Metadata
from openfeature.track import TrackingEventDetails

from . import flags
from .client import Client, current_request

_LOOK_EVERY = 0.25


class SluiceProvider(AbstractProvider):
    """Answers from a client, which stays the caller's: shutting the provider down does not close it."""

    def __init__(self, client: Client):
        super().__init__()
        self._client = client
        self._done = threading.Event()
        self._watcher: Optional[threading.Thread] = None

    def get_metadata(self) -> Metadata:
        """Return the provider's name."""
        return Metadata("sluice")

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Begin to tell changes of the configuration and of readiness."""
        self._done.clear()
        self._watcher = threading.Thread(target=self._watch, name="sluice-openfeature", daemon=True)
        self._watcher.start()

    def shutdown(self) -> None:
        """Stop telling changes."""
        self._done.set()

    def _watch(self) -> None:
        known, reason = self._client.status().head, ""
        while not self._done.wait(_LOOK_EVERY):
            head, now = self._client.status().head, self._client.unready()
            if not hasattr(self, "_on_emit"):
                continue
            if bool(now) != bool(reason):
                details = ProviderEventDetails(message=now or None)
                self.emit_provider_stale(details) if now else self.emit_provider_ready(details)
            if head != known:
                self.emit_provider_configuration_changed(ProviderEventDetails(message=f"revision {head}"))
            known, reason = head, now

    def track(
        self, tracking_event_name: str, evaluation_context: Optional[EvaluationContext] = None,
        tracking_event_details: Optional[TrackingEventDetails] = None,
    ) -> None:
        """Observe the details' value as a metric of the current request."""
        request = current_request(self._client)
        value = tracking_event_details.value if tracking_event_details is not None else None
        if request is not None and isinstance(value, (int, float)):
            request.observe(tracking_event_name, float(value))

    def _evaluate(self, key: str, context: Optional[EvaluationContext]) -> flags.Result:
        request = current_request(self._client)
        unit = (context.targeting_key or "") if context is not None else ""
        if request is not None and unit in ("", request.unit):
            return self._client.flag(key).detail(request)
        return self._client.evaluate(key, unit, dict(context.attributes) if context is not None else None)

    def _resolve(self, kind: str, key: str, default: Any, context: Optional[EvaluationContext]) -> FlagResolutionDetails[Any]:
        r = self._evaluate(key, context)
        code = r.error or r.check(kind)
        if code:
            return FlagResolutionDetails(
                value=default, error_code=ErrorCode(code), error_message=f"flag {key}: {code}", reason="ERROR", flag_metadata=self._metadata(r)
            )
        if r.variant is None:  # the code's default stands
            return FlagResolutionDetails(value=default, reason=flags.openfeature_reason(r.reason), flag_metadata=self._metadata(r))
        return FlagResolutionDetails(
            value=r.variant.value, variant=r.variant.name, reason=flags.openfeature_reason(r.reason), flag_metadata=self._metadata(r)
        )

    def _metadata(self, r: flags.Result) -> Dict[str, Union[str, int, float, bool]]:
        named: Tuple[Tuple[str, Union[str, int]], ...] = (
            ("version", str(r.revision) if r.revision else ""), ("sluice.reason", r.reason), ("sluice.rollout", r.rollout),
            ("sluice.cohort", r.cohort), ("sluice.arm", r.served), ("sluice.rule", r.rule),
        )
        age = self._client.age()
        return {**{k: v for k, v in named if v}, **({"sluice.age": round(age, 3)} if age != float("inf") else {})}

    def resolve_boolean_details(self, flag_key: str, default_value: bool, evaluation_context: Optional[EvaluationContext] = None) -> FlagResolutionDetails[bool]:
        """Resolve a truth value."""
        return self._resolve("boolean", flag_key, default_value, evaluation_context)

    def resolve_string_details(self, flag_key: str, default_value: str, evaluation_context: Optional[EvaluationContext] = None) -> FlagResolutionDetails[str]:
        """Resolve a text."""
        return self._resolve("string", flag_key, default_value, evaluation_context)

    def resolve_integer_details(self, flag_key: str, default_value: int, evaluation_context: Optional[EvaluationContext] = None) -> FlagResolutionDetails[int]:
        """Resolve an integer."""
        return self._resolve("integer", flag_key, default_value, evaluation_context)

    def resolve_float_details(self, flag_key: str, default_value: float, evaluation_context: Optional[EvaluationContext] = None) -> FlagResolutionDetails[float]:
        """Resolve a number."""
        return self._resolve("float", flag_key, default_value, evaluation_context)

    def resolve_object_details(
        self, flag_key: str, default_value: Union[Sequence[Any], Mapping[str, Any]], evaluation_context: Optional[EvaluationContext] = None
    ) -> FlagResolutionDetails[Any]:
        """Resolve an object or a list."""
        return self._resolve("object", flag_key, default_value, evaluation_context)
