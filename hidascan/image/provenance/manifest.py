"""C2PA manifest: who signed a file, whether the signature holds, and what it declares of the file and its ingredients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Statement:
    """One statement of a manifest about how its file was made.

    Attributes:
        field: Action or assertion that holds it, such as "C2PA action c2pa.created".
        source_type: IPTC digital source type, such as trainedAlgorithmicMedia; "" where the field names none.
        agent: Software or device that acted; "" where the field names none.
    """

    field: str
    source_type: str = ""
    agent: str = ""


@dataclass(frozen=True)
class Manifest:
    """The manifest of a file, or of something that went into it.

    Attributes:
        title: Title that the maker gave the file; "" where it has none.
        relationship: Role of an ingredient, such as parentOf (edited), componentOf (placed) or inputTo; "" for
            the file itself.
        signature: "valid", by a signer on the user's trust list; "unverified", not known to be changed, but the signer
            is on no trust list or could not be checked; "broken", if the file was changed after signing or the
            signature is wrong; "" for an ingredient without a manifest.
        signer: Name of the issuer; "" where there is none.
        agents: Software and devices, the claim generator first.
        source_types: IPTC digital source types of all statements, such as trainedAlgorithmicMedia.
        actions: Actions without their prefix, such as created or edited.
        ingredients: Files that went into this one.
        statements: Fields from which claims of origin are drawn.
        codes: Status codes of C2PA for what could not be confirmed, such as signingCredential.untrusted.
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
        """Yield ingredients, theirs, and so on."""
        for one in self.ingredients:
            yield one
            yield from one.all_ingredients()

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Manifest:
        """Build a manifest from what `dataclasses.asdict` made of it, or an earlier version did."""
        names = ("agents", "source_types", "actions", "codes")
        lists = {name: tuple(record.get(name, ())) for name in names}
        within = tuple(cls.from_record(one) for one in record["ingredients"])
        statements = tuple(Statement(**one) for one in record.get("statements", ()))
        return cls(**{**record, **lists, "ingredients": within, "statements": statements})
