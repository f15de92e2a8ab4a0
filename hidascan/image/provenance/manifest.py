"""C2PA manifest: the signer of a file, the status of the signature, and statements on the file and its ingredients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# `field` of statements: the claim generator, or the start of an action or assertion; of a camera, also the end.
GENERATOR, ACTION, ASSERTION = "C2PA claim generator", "C2PA action ", "C2PA assertion "
MODEL = ", Model"


@dataclass(frozen=True)
class Statement:
    """One statement of a manifest about how its file was made.

    Attributes:
        field: Action or assertion that holds it, such as "C2PA action c2pa.created".
        source_type: IPTC digital source type, such as trainedAlgorithmicMedia; "" if none.
        agent: Software or device that acted; "" if none.
    """

    field: str
    source_type: str = ""
    agent: str = ""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a file, or of an ingredient.

    Attributes:
        title: Title by the maker of the file; "" if none.
        relationship: Role of an ingredient, such as parentOf (edited; also of any that was opened), componentOf (placed)
            or inputTo; "" for the file itself.
        signature: "valid", by a signer on the user's trust list; "unverified", without known changes, but by an
            untrusted or unchecked signer; "broken", if the file was changed after signing or the signature is wrong;
            "" for an ingredient without a manifest.
        signer: Organisation, or else name, in the signer's certificate; "" if none.
        agents: Software and devices, the claim generator first.
        source_types: IPTC digital source types of all statements, such as trainedAlgorithmicMedia.
        actions: Actions without their prefix, such as created or edited.
        ingredients: Manifests of files used in this one.
        statements: Fields from which claims of origin are derived.
        codes: C2PA status codes of failed checks, such as signingCredential.untrusted.
    """

    title: str = ""
    relationship: str = ""
    signature: str = ""
    signer: str = ""
    agents: tuple[str, ...] = ()
    source_types: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    ingredients: tuple[Manifest, ...] = ()
    statements: tuple[Statement, ...] = ()
    codes: tuple[str, ...] = ()

    def all_ingredients(self) -> Iterator[Manifest]:
        """Yield all ingredients, recursively."""
        for one in self.ingredients:
            yield one
            yield from one.all_ingredients()
