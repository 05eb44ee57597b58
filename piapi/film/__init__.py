"""The film of a time-lapse: closed segments on disk, an open tail in memory, and an MP4 put together for who asks.

Nothing is copied and nothing is encoded twice. FFmpeg's libraries are loaded with the first picture.
"""
