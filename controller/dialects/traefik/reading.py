"""What the annotations of one object say: every feature's configuration, refusals, findings.

Equal annotations give equal readings, and most Ingresses of a cluster carry the same few, so
readings which looked up nothing outside the annotations are kept and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastproxy.feature import Feature, Invalid, OnInvalid, Scope
from fastproxy.features import FEATURES, KNOWN_ANNOTATIONS
from fastproxy.model import findings
from fastproxy.model.configuration import Config, ObjectReference
from fastproxy.model.findings import Finding, Kind
from fastproxy.notes import ObjectNotes, Problem
from fastproxy.settings.options import Kubernetes, Settings

EFFECT_KINDS: Mapping[OnInvalid | None, Kind] = {
    None: findings.ANNOTATION_WARNING,
    OnInvalid.DEFAULT: findings.ANNOTATION_DEFAULT,
    OnInvalid.OFF: findings.ANNOTATION_OFF,
    OnInvalid.PATH: findings.ANNOTATION_PATH,
    OnInvalid.DROP: findings.ANNOTATION_DROP,
    OnInvalid.INGRESS: findings.ANNOTATION_INGRESS,
    OnInvalid.ENDPOINTS: findings.ANNOTATION_ENDPOINTS,
}
OUR_PREFIXES = ("ingress.kubernetes.io/", "traefik.")
CACHE_LIMIT = 20_000


class References:
    """See `fastproxy.feature.Refs`; remembers which Secrets were asked for."""

    def __init__(
        self, settings: Settings, secret: Callable[[str], Mapping[str, bytes] | None], path: str
    ) -> None:
        self.settings = settings
        self.path_used = False
        self.secrets: dict[str, None] = {}
        self._secret = secret
        self._path = path

    @property
    def path(self) -> str:
        self.path_used = True
        return self._path

    @property
    def entry_points(self) -> Mapping[str, Any]:
        return self.settings.entry_points

    @property
    def enable_pass_tls_cert(self) -> bool:
        return (self.settings.kubernetes or Kubernetes()).enable_pass_tls_cert

    @property
    def whitelist_invalid(self) -> str:
        return (self.settings.kubernetes or Kubernetes()).whitelist_invalid

    def secret(self, name: str) -> Mapping[str, bytes] | None:
        self.secrets[name] = None
        return self._secret(name)


@dataclass(frozen=True, slots=True)
class Refusal:
    feature: Feature
    annotation: str
    effect: OnInvalid


@dataclass(frozen=True, slots=True)
class Remark:
    """A finding which does not know its object yet."""

    kind: Kind
    field: str
    sentence: str
    effect: str = ""  # if it is not what the catalogue says

    def about(self, reference: ObjectReference) -> Finding:
        return self.kind(reference, self.field, self.effect, sentence=self.sentence)


@dataclass(frozen=True, slots=True)
class Reading:
    configs: tuple[tuple[Feature, Config], ...]  # in the order of FEATURES
    refusals: tuple[Refusal, ...] = ()
    remarks: tuple[Remark, ...] = ()
    secrets: tuple[str, ...] = ()  # looked up, present or not

    def config(self, feature: Feature) -> Any:
        for owner, config in self.configs:
            if owner is feature:
                return config
        return None

    def refused(self, feature: Feature) -> bool:
        return any(refusal.feature is feature for refusal in self.refusals)

    def has_effect(self, effect: OnInvalid) -> bool:
        return any(refusal.effect is effect for refusal in self.refusals)


class Reader:
    """Reads annotations with every feature of one scope, under one configuration."""

    def __init__(self, settings: Settings, scope: Scope) -> None:
        self._settings = settings
        self._features = tuple(feature for feature in FEATURES if feature.scope is scope)
        self._cache: dict[tuple[Any, ...], Reading] = {}

    def read(
        self,
        annotations: Mapping[str, str],
        secret: Callable[[str], Mapping[str, bytes] | None],
        path: str = "",
    ) -> Reading:
        own = {k: v for k, v in annotations.items() if k.startswith(OUR_PREFIXES)}
        key = (tuple(sorted(own.items())), path)
        known = self._cache.get(key) or self._cache.get(key[:1])
        if known is not None:
            return known
        refs = References(self._settings, secret, path)
        reading = self._read(own, refs)
        if not reading.secrets:
            if len(self._cache) >= CACHE_LIMIT:
                self._cache.clear()
            self._cache[key if refs.path_used else key[:1]] = reading
        return reading

    def _read(self, annotations: Mapping[str, str], refs: References) -> Reading:
        notes = ObjectNotes(annotations)
        configs: list[tuple[Feature, Config]] = []
        refusals: list[Refusal] = []
        remarks: list[Remark] = []
        for feature in self._features:
            try:
                config = feature.read(notes, refs)
            except Invalid as problem:
                refusals.append(Refusal(feature, problem.annotation, problem.effect))
                key = _key(feature, problem.annotation, notes)
                sentence = notes.with_cause(key, problem.sentence)
                outcome = _outcome(feature, problem.effect)
                remarks.append(
                    Remark(EFFECT_KINDS[problem.effect], annotation_field(key), sentence, outcome)
                )
            else:
                if config is not None:
                    configs.append((feature, config))
        remarks += [_remark(problem) for problem in notes.problems]
        remarks += [
            twice(ignored, winner)
            for feature in self._features
            for ignored, winner in notes.twice(feature.annotations)
        ]
        return Reading(tuple(configs), tuple(refusals), tuple(remarks), tuple(refs.secrets))


def twice(ignored: str, winner: str) -> Remark:
    """What is told of an annotation that is there in another spelling too, which counts."""
    sentence = f"{winner} is there too and counts; remove one of the two"
    return Remark(findings.ANNOTATION_TWICE, annotation_field(ignored), sentence)


def _remark(problem: Problem) -> Remark:
    field, outcome = annotation_field(problem.key), problem.outcome
    if problem.effect is None:
        return Remark(problem.kind, field, problem.sentence, outcome)
    default = KNOWN_ANNOTATIONS[problem.key].default
    if isinstance(default, bool):
        outcome = f"The default, {str(default).lower()}, is used."
    elif default and isinstance(default, int | str):
        outcome = f"The default, {default}, is used."
    else:
        outcome = "It is ignored."
    return Remark(EFFECT_KINDS[problem.effect], field, problem.sentence, outcome)


def _outcome(feature: Feature, effect: OnInvalid) -> str:
    """What a refused value does to traffic, as exactly as it is known here."""
    if effect is OnInvalid.OFF:
        return f"{feature.name} is off."
    of = "of this Ingress" if feature.scope is Scope.INGRESS else "to this Service"
    if effect is OnInvalid.ENDPOINTS:
        return f"The paths {of} answer 503."
    return f"The paths {of} answer 404."


def _key(feature: Feature, name: str, notes: ObjectNotes) -> str:
    for annotation in feature.annotations:
        if annotation.name == name:
            return notes.key(annotation) or annotation.keys[0]
    return name


def annotation_field(key: str) -> str:
    return f"metadata.annotations[{key}]"
