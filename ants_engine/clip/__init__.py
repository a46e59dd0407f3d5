"""Pictures and texts in, L2-normalised CLIP features out.

================= ====================================================================================
module            what
================= ====================================================================================
`sources`         the ``images`` argument in all its forms, as a stream of references
`folder`          listing folders, glob patterns and list files
`image_ref`       one picture by reference; a temporary folder for pictures that nobody else keeps
`web_address`     parsing and naming web addresses
`fetch`           fetching a picture over HTTP, behind an SSRF guard
`formats`         file signatures, decoding cost, PNG metadata
`decode`          any picture to 8-bit RGB
`picture`         a picture as an MLLM is shown it
`model`           finding and loading a CLIP model
`weights`         its files on the Hugging Face hub; OpenAI's weights files
`towers`          open_clip's transformers without work that does not reach the feature
`encoder`         the CLIP encoder
`encoding`        the encoder interface, the lock of an encoder, given text features
`worker`          the encoder in a thread beside the event loop, decoding ahead of it
`feature_store`   caches of features on disk
================= ====================================================================================
"""
