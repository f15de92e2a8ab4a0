"""Define the parts of notes that the summary looks for: a finding keeps its notes as plain text."""

# beginnings of notes
NO_CONTENT = "nothing to judge"
NO_DETAIL = "looks enlarged or out of focus"
EARLIER_SAVE = "previously saved as JPEG"
DAMAGED = "damaged: "
ONLY = "only "
DAMAGED_ONLY = DAMAGED + ONLY
STOPPED_EARLY = "stopped early"
STRESS = "after re-saving, resizing and cropping"
FROM_SIDECAR = "Content Credentials are from the sidecar"
SCORE_ALONE = "the score alone indicates real"

# ends of notes
CONFLICT = "; the verdicts conflict"
MAY_BE_WRONG = "may be wrong"
REDUCED_DETAIL = "reduced detail"


def with_article(domain: str) -> str:
    """Return a kind of picture with its article: `an artwork`, `a render`."""
    return f"{'an' if domain == 'artwork' else 'a'} {domain}"
