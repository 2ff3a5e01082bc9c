"""The Cython border to ``csrc``; nothing else crosses it."""
