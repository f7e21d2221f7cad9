"""The words, random numbers from a key, and the little that everything else stands on."""
