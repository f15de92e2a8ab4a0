"""Define the parts of notes and errors that the summary looks for: a finding keeps these as plain text."""

# beginnings of notes
NO_CONTENT = "nothing to judge"
NO_DETAIL = "looks enlarged or out of focus"
EARLIER_SAVE = "previously saved as JPEG"
DAMAGED = "damaged: "
DAMAGED_IMAGE = "damaged image: "  # of an error: the picture cannot be scanned
ONLY = "only "
DAMAGED_ONLY = DAMAGED + ONLY
STOPPED_EARLY = "stopped early"
STRESS = "after re-saving, resizing and cropping"
CREDENTIALS = "Content Credentials"
FROM_SIDECAR = f"{CREDENTIALS} are from the sidecar"
SCORE_ALONE = "the score alone indicates real"

# ends of notes
CONFLICT = "; the verdicts conflict"
MAY_BE_WRONG = "may be wrong"
REDUCED_DETAIL = "reduced detail"


def with_article(domain: str) -> str:
    """Return a kind of picture with its article: `an artwork`, `a render`."""
    return f"{'an' if domain == 'artwork' else 'a'} {domain}"
