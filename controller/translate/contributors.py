"""The contributors there are: a new kind is one more here."""

from __future__ import annotations

from controller.snapshot.snapshot import Snapshot
from controller.translate.contributor import Contributor
from controller.translate.ingress import IngressContributor
from controller.translate.translator import Translation, Translator
from fastproxy.settings.options import Settings


def contributors(settings: Settings) -> tuple[Contributor, ...]:
    """Raises ValueError when the label selector of the settings is none."""
    return (IngressContributor(settings),)


def translate(snapshot: Snapshot, settings: Settings) -> Translation:
    """The whole snapshot at once."""
    return Translator(contributors(settings)).update(snapshot)
