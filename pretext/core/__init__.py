"""The words, chance and the little that everything else stands on."""
