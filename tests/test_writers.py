"""Programs that comments and captions name."""

import time

import pytest

from tests.metadata import PARAMETERS, claims_of, png_text, read, tags


@pytest.mark.parametrize(
    ("comment", "program"),
    [
        ("Created with GIMP", "GIMP"), ("Created with The GIMP", "The GIMP"), ("Adobe ImageReady", "Adobe ImageReady"),
        ("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), quality = 90\n", "gd-jpeg v1.0 (using IJG JPEG v62), quality = 90"),
        ("File written by Adobe Photoshop 4.0", "Adobe Photoshop 4.0"), ("Lavc60.3.100", "Lavc60.3.100"),
        ("LEAD Technologies Inc. V1.01", "LEAD Technologies Inc. V1.01"), ("Software: Microsoft Office", "Microsoft Office"),
        ("Compressed by jpeg-recompress", "jpeg-recompress"), ("Optimized by JPEGmini 3.14.2", "JPEGmini 3.14.2"),
        ("This image was created with Adobe Fireworks.", "Adobe Fireworks"),
        ("GIF converted with https://ezgif.com/webp-to-gif", "https://ezgif.com/webp-to-gif"),
        ("Optimized using ezgif.com", "ezgif.com"), ("Resized on https://ezgif.com/resize", "https://ezgif.com/resize"),
        ("Created with TechSmith Snagit for Mac", "TechSmith Snagit for Mac"), ("Snagit 2024", "Snagit 2024"),
        ("Edited with Photoshop Express", "Photoshop Express"),
        ("Created with Adobe Photoshop Elements 2026", "Adobe Photoshop Elements 2026"),
    ],
)  # fmt: skip
def test_a_comment_may_name_the_program_that_wrote_the_file(tmp_path, comment, program):
    for name in ("a.jpg", "a.gif"):
        assert [claim[:3] for claim in read(tmp_path, name, comment=comment.encode())] == [
            ("software", program, "text")
        ]
    assert [claim[:3] for claim in read(tmp_path, "a.png", **png_text("Comment", comment))] == [
        ("software", program, "text")
    ]


@pytest.mark.parametrize(
    "comment",
    [
        "Created by Anna", "Created with love", "Screenshot", "Blender", "Fireworks 2024", "Creator: Anna", "Software engineer",
        "Not made with GIMP", "Made with Photoshop?", "How this was created with GIMP", "Photoshop tutorial", "Software: unknown",
        "Photo by annasmith.com", "Optimized by hand", "Optimized using myezgif.com", "Made on Earth", "Photoshop Elements of style", "Picasso 2.0 at the museum", "Compressed air by Anna",
    ],
)  # fmt: skip
def test_other_comments_name_no_program(tmp_path, comment):
    assert read(tmp_path, "a.jpg", comment=comment.encode()) == []


@pytest.mark.parametrize(
    "words",
    [
        "Designed by illustrator Anna Smith for The New Yorker", "This picture was drawn by illustrator Axel Scheffler",
        "Created by Photoshop expert John Smith", "Rendered by Blender artist Jan", "Image created by Krita Patel",
        "Created by VSCO girl Anna", "Made in Blender Street, London", "Drawn by illustrator", "Drawn by Krita, age 5",
        "Designed by Illustrator and author Eric Carle", "The image was created by illustrator Anna Smith.", "Made by Canva Team",
        "Edited by Blender Magazine", "Made in blender in five minutes", "Created with illustrator Anna Smith", "Made with Krita Patel",
        "Drawn by illustrator 2024", "Drawn by Krita 5", "Created with annasmith.com", "Made using ASP.NET", "Made with GIMP? No",
        "Made with GIMP: no", "Created using Photoshop, no AI", "Created with Photoshop, not Midjourney",
        "Created with Adobe Illustrator generative AI", "Made with Canva; not AI generated", "Made with Photoshop with AI?",
    ],
)  # fmt: skip
def test_people_places_and_denials_are_no_programs(tmp_path, words):
    assert claims_of("comment", "JPEG comment", "comment", words) == []
    assert read(tmp_path, "a.jpg", exif=tags({0x010E: words})) == []


@pytest.mark.parametrize(
    ("words", "program"),
    [
        ("Made in Figma", "Figma"), ("Edited with Adobe Photoshop CS6.", "Adobe Photoshop CS6"), ("Created in GIMP 2.10", "GIMP 2.10"),
        ("Drawn with Adobe Illustrator", "Adobe Illustrator"),
    ],
)  # fmt: skip
def test_a_program_may_have_a_version_or_a_full_stop_behind_it(words, program):
    for kind in ("comment", "caption"):
        assert claims_of("exif", "a field", kind, words) == [("software", program)]


@pytest.mark.parametrize(
    "comment",
    [
        "CREATOR: NASA/JPL-Caltech", "CREATOR: ANNA SMITH", "CREATOR: MIDJOURNEY", "CREATOR: OPENAI", "Compressed by Anna Smith",
        "Compressed by Anna Smith 24.12.2021", "Optimised by our team", "Compressed with love", "Encoder: John Doe", "Encoded by John",
        "File written by Anna", "Software: no AI used", "Software: not Midjourney", "Software: keine", "Software: not specified",
        "Software: Midjourney is not used", "Software: Midjourney? No", "Software: without Midjourney", "Software: see credits",
        "Software: the new book by Anna", "Software: Photoshop?", "Software: Photoshop tutorial", "Optimized by ChatGPT",
        "Compressed by OpenAI", "Optimized with Shutterstock AI", "Encoder: Sora 2", "Compressed with DeepAI",
        "Software: the new book on Midjourney", "No watermark\nSoftware: Midjourney 7.0",
        "Software: Midjourney v7\nis what we write about", "LEAD Technologies staff meeting",
        "ACD Systems headquarters in Victoria", "Handmade Software team", "xv version of the story", "Software: Anna 24.12.2021",
    ],
)  # fmt: skip
def test_people_and_denials_behind_a_label_are_no_programs(comment):
    assert claims_of("comment", "JPEG comment", "comment", comment) == []


@pytest.mark.parametrize(
    ("comment", "program"),
    [
        ("CREATOR: XV Version 3.10a  Rev: 12/29/94  Quality = 75, Smoothing = 0", "XV Version 3.10a Rev: 12/29/94 Quality = 75, Smoothing = 0"),
        ("CREATOR: The GIMP's PNM Filter Version 1.0", "The GIMP's PNM Filter Version 1.0"), ("Encoded by x264", "x264"),
        ("Optimized by JPEGmini 3.9.20.0 0x4c4b1a32", "JPEGmini 3.9.20.0 0x4c4b1a32"),
        ("File written by Adobe Photoshop¨ 4.0\0", "Adobe Photoshop¨ 4.0"), ("File written by Adobe Photoshop? 5.0", "Adobe Photoshop? 5.0"),
        ("Handmade Software, Inc. Image Alchemy v1.11", "Handmade Software, Inc. Image Alchemy v1.11"),
        ("Software: Adobe Photoshop CS Windows", "Adobe Photoshop CS Windows"), ("Software: Photoshop CS2 Macintosh", "Photoshop CS2 Macintosh"),
        ("CREATOR: gd-jpeg v1.0 (using IJG JPEG v62), default quality", "gd-jpeg v1.0 (using IJG JPEG v62), default quality"),
    ],
)  # fmt: skip
def test_programs_behind_a_label_are_found(comment, program):
    assert claims_of("comment", "JPEG comment", "comment", comment) == [("software", program)]


@pytest.mark.parametrize(
    "words",
    [
        "AI generated\nCreated with GIMP", "Generated with Midjourney\r\nEdited in Photoshop", "Created with GIMP, then Midjourney",
        "Edited in Lightroom and generated with Midjourney", "Edited in Photoshop with Generative Fill", "Made in Canva with Midjourney",
        "Made with Midjourney and Photoshop?", "AI-generated images\nCreated with GIMP", "Not generated by AI\nCreated with GIMP",
        "AI generated?\nCreated with GIMP", "Created with GIMP on a Mac", "(c) 2004 Anna\n\nCreated with The GIMP",
    ],
)  # fmt: skip
def test_a_text_that_says_more_names_no_program_that_could_hide_a_generator(words):
    for kind in ("comment", "caption"):
        assert claims_of("exif", "a field", kind, words) == []


@pytest.mark.parametrize("words", ["Software: Midjourney 7.0", "software:  Midjourney"])
def test_a_generator_may_stand_behind_a_label_of_a_comment(words):
    assert claims_of("comment", "JPEG comment", "comment", words) == [("ai", "Midjourney")]


def test_a_caption_may_name_the_program_only_in_a_phrase(tmp_path):
    found = read(tmp_path, "a.jpg", exif=tags({0x010E: "Created with GIMP"}))
    assert found == [("software", "GIMP", "text", False, "EXIF ImageDescription")]
    for caption in ("Adobe ImageReady", "Compressed by Anna", "Software: a history", "GIMP 2.10"):
        assert read(tmp_path, "a.jpg", exif=tags({0x010E: caption})) == []


def test_the_program_in_a_comment_hides_no_stronger_claim(tmp_path):
    camera = tags({0x010F: "Canon", 0x0110: "Canon EOS", 0x0131: "GIMP 2.10", 0x010E: "Made with Midjourney"})
    assert [claim[:3] for claim in read(tmp_path, "a.jpg", exif=camera, comment=b"Created with GIMP")] == [
        ("ai", "Midjourney", "text"),
        ("camera", "Canon EOS", "tag"),
        ("software", "GIMP 2.10", "tag"),
        ("software", "GIMP", "text"),
    ]
    for comment in ("Software: Midjourney v7", "Created with Adobe Firefly", "Generated by DALL-E 3"):
        assert [claim[0] for claim in read(tmp_path, "a.jpg", comment=comment.encode())] == ["ai"]
    text = "Created with GIMP\n" + PARAMETERS
    assert [claim[:2] for claim in read(tmp_path, "a.jpg", comment=text.encode())] == [
        ("ai", "Stable Diffusion parameters")
    ]


@pytest.mark.parametrize(
    "words", ["created with a-", "this picture ", "Generative Fill no ", "made with GIMP ", "a.b-"]
)
@pytest.mark.parametrize(("kind", "end"), [("comment", ""), ("caption", ""), ("history", "\n"), ("source type", "")])
def test_long_texts_of_programs_and_steps_take_no_long_time(words, kind, end):
    text = "".join(f"{words * 3}{number}{end}" for number in range(20_000)) + "?"
    start = time.process_time()
    claims_of("xmp", "a field", kind, text)
    claims_of("xmp", "a field", kind, words * 20_000)
    claims_of("xmp", "a field", kind, "a" * 100_000 + "\n" + " " * 100_000 + "GIMP")
    assert time.process_time() - start < 2
