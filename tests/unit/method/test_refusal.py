"""What says that there is no picture, declines, or comes from no model at all is a refusal; a caption never is."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ants_engine.method.answer import Rejection, clean_sentence
from ants_engine.method.labels import parse_labels
from ants_engine.method.refusal import is_refusal

NONE = """
I don't see an image.
I do not see any picture in your message.
I can't see any image attached.
I dont see any image
I cannot view or interpret images directly.
I'm not able to view images at the moment.
I’m unable to see the picture you mentioned.
I see no image here.
I see that no image has been included in your message.
I notice that you haven't attached a picture.
I didn't receive an image with your request.
I haven't received any photo yet.
I have no way of viewing pictures.
I only see text, no picture.
I can only process text.
I currently only support text input.
I need to see the image to describe it.
I'd be happy to help, but there is no image attached.
I would need you to upload the picture first.
I must decline to describe this.
I'd rather not describe this person.
I'm not comfortable describing this picture.
I'm having trouble loading the image.
I'm sorry, but I can't help with that.
Sorry, I can't see the picture.
Sorry! I cannot see the picture.
Sorry, but no image came through.
My apologies, I cannot see any image.
No image was provided.
No image provided
No picture has been attached to this conversation.
No image found in the input.
No photo to describe.
No visual content was supplied.
There is no image attached.
There's no picture in your message.
There isn't any image here to describe.
There seems to be no image attached to your message.
It looks like there's no image attached. Please upload it.
It looks like you forgot to attach the image.
It seems that you haven't provided an image for me to describe.
It seems there was an issue with the image upload.
It appears that the image did not load.
It appears the picture could not be displayed.
You have not attached a picture.
You didn't upload an image.
You've only provided text.
Your message does not contain an image.
The image is not visible to me.
The image you mentioned is not attached.
The picture could not be loaded.
The image failed to load.
The photo was not included.
Image not found
Image not available.
Image could not be displayed
Image unavailable
Please upload the image.
Please provide a picture so that I can describe it.
Could you please share the photo again?
Can you provide the image?
Upload an image and I will describe it.
If you upload the image, I can describe it.
To describe the picture, I would need to see it.
Without seeing the image, I can't say what it shows.
Unfortunately, the image is not accessible to me.
As an AI language model, I cannot see pictures.
As a text-based AI, I cannot view images.
As a large language model I have no eyes.
I am a text-based model and cannot see pictures.
I'm just a language model, so I can't look at photos.
This model does not support images.
The model does not support image input.
Error: image input is not supported
Error 500
ERROR: failed to decode image
An error occurred while processing the image.
image input is not supported - hint: if this is unexpected, you may need to provide the mmproj
Image inputs are not supported by this endpoint.
Failed to load image.
Invalid image.
Unsupported image format
Internal server error
502 Bad Gateway
Too many requests
Rate limit exceeded
Request timed out
[image]
<image>
[Image: not available]
[Insert image description here]
(no image)
[REDACTED]
Hello! How can I help you today?
Hi there! What can I do for you?
Hello!
How can I assist you today?
What would you like me to describe?
This is a mock response.
This is a test response
Mock answer
Lorem ipsum dolor sit amet
It is not possible to describe the picture.
Not enough information to describe the picture.
Unable to process image
Cannot determine
Great question! However, I don't see any image attached.
Oops, it looks like the picture didn't come through.
Sure, but no image was attached.
The response was filtered due to the content policy.
Nothing to describe.
N/A
Yes.
OK
Es tut mir leid, ich kann kein Bild sehen.
Ich sehe kein Bild.
Leider wurde kein Bild hochgeladen.
Je suis désolé, je ne vois pas d'image.
Aucune image n'a été fournie.
Lo siento, no puedo ver la imagen.
No hay ninguna imagen adjunta.
Desculpe, não consigo ver a imagem.
Mi dispiace, non vedo nessuna immagine.
抱歉，我看不到图片。
没有提供图片
画像が添付されていません。
죄송합니다. 이미지를 볼 수 없습니다.
Извините, я не вижу изображения.
""".strip().splitlines()

CAPTIONS = """
A man who cannot see holds a white cane
A blind man who can't see the traffic light
No parking sign
No entry sign on a brick wall
No smoking in this area
No people on an empty beach
No image-like pattern, only noise
Sorry! board game box
Sorry looking dog
A sorry dog sits in the rain
A picture of a camera with no image on its display
A television with no picture on its screen
A passport without a photo attached
An empty picture frame with no picture in it
An error message on a screen
Error message on a computer screen
A blue screen with an error message
A blank page
A blank white image
There is no image-like pattern in the noise
There is no snow on the mountain
There is no picture on the wall
There is a dog on the grass
There are no clouds in the sky
The image shows a lamp on a table
The image shows no people, only a road
The image is blurry and dark
The picture is of a red car
The photo was taken at night
It looks like a cat on a sofa
It looks like a painting of the sea
It seems to be a wooden chair
It appears to be a photo of a lamp
You are here map on a wall
You and me written in the sand
Your name on a coffee cup
I love you written on a card
I heart New York mug
I see a dog on the grass
I can see a red bicycle
I voted sticker on a jacket
I-beam on a building site
Please do not touch sign
Please wait here sign
Please recycle bin
Please mind the gap
Hello Kitty toy on a shelf
Hello written on a chalkboard
Hi-hat of a drum kit
Welcome mat in front of a door
Welcome to Las Vegas sign
Help wanted sign in a window
As an astronaut floats by, the earth turns
As a child plays, a dog watches
Nothing but sand and sky
None of the chairs is occupied
Nobody on a bench in the park
Unknown soldier's tomb with flowers
Empty bottle on a table
Test tube with a green liquid
Text on a wall
A text message on a phone
A sign that says no image available
A shirt that says I can't see you
A poster reading as an AI I cannot feel
Cannot opener beside a tin
Can of soup on a shelf
Could be a bird or a plane
Invalid parking ticket on a windscreen
Broken picture frame on the floor
Missing person poster
Missing tooth of a smiling child
Server rack with blue lights
Traffic light showing red
Image of a cat on a mat
Picture of a lamp
Photo album on a table
Camera on a tripod
Attachment of a vacuum cleaner
Uploaded files icon on a screen
Yes sign on a voting card
Okay hand gesture
True colours of a parrot
A robot, as an AI assistant might look
A chatbot on a phone screen
A language model of clay letters
Model train on a track
Assistant holding a clipboard
A man is unable to lift the stone
The dog does not want to go outside
The man can't reach the shelf
A woman not looking at the camera
Not a cloud in the sky
Out of order sign on a machine
Content woman drinking tea
Blocked road with cones
Forbidden city in the snow
Request for proposal on a desk
What a mess on the floor
Where the river meets the sea
Which way sign at a crossroads
How to fold a paper plane, in steps
Let me in, says a cat at the door
To the left a tree, to the right a house
Without a roof, an old barn stands in a field
If only a cat had wings, a drawing
Unfortunate cat stuck in a tree
Apology card with a heart
Time out corner in a school
Placeholder card on a dinner table
Mock turtle of wood
Dummy in a shop window
Fake flowers in a vase
Sample bottles of perfume
Kein Parken Schild
Eine Katze auf einer Matte
Une image de chat sur un mur
No estacionar, letrero en una pared
Una foto de un perro
""".strip().splitlines()


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_description_is_a_refusal(text: str) -> None:
    assert is_refusal(text)
    assert clean_sentence(text, 24) in {Rejection.REFUSAL, Rejection.EMPTY}


@pytest.mark.parametrize("text", CAPTIONS)
def test_a_caption_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)
    assert clean_sentence(text + ".", 24) == text


def test_the_tables_are_long_enough() -> None:
    assert min(len(set(NONE)), len(set(CAPTIONS))) >= 60


@pytest.mark.parametrize(
    "label",
    [
        "hi-hat",
        "image",
        "test tube",
        "no parking sign",
        "error code",
        "I-beam",
        "placeholder card",
        "server",
        "mock orange",
    ],
)
def test_names_of_things_are_labels(label: str) -> None:
    if label != "image":
        assert parse_labels(f"1. {label}\n2. wolf").labels == (label, "wolf")


@given(st.text(max_size=400))
def test_any_text_is_judged(text: str) -> None:
    assert is_refusal(text) in {True, False}


@pytest.mark.parametrize(
    "unit", ["i ", "no image ", "the image ", "hi! ", "it looks like ", "i don't see ", "[image", "a ", "to help "]
)
def test_judging_costs_nothing(unit: str) -> None:
    started = time.process_time()
    for _ in range(20):
        is_refusal(unit * 1000)
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(
    "answer",
    [
        "I appreciate your question, but I don't have access to the image.",
        "Happy to help! Could you share the picture?",
        "The image you've shared didn't load on my end.",
        "It appears the image is blank or did not load.",
        "I currently can't process visual inputs.",
        "I must respectfully decline to describe this image.",
        "I'm going to have to pass on describing this.",
        "I notice you've mentioned an image, but I don't see one in your message.",
        "I believe the image may be missing.",
        "I can only describe images when they're provided.",
        "The image content is not accessible to me.",
        "I was not given an image to describe.",
        "Describing images is beyond my capabilities.",
        "Assuming the image shows a cat, here is a description: A cat.",
        "Please upload one",
    ],
)
def test_polite_forms_of_no(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize(
    "caption",
    [
        "A dog, but not a happy one",
        "It is raining, but people are dancing in the street",
        "The model is not wearing shoes on a beach",
        "The image is blank",
        "Islands beyond a harbour",
        "I see a cat, but it is asleep",
    ],
)
def test_captions_that_only_sound_like_one(caption: str) -> None:
    assert not is_refusal(caption)
