"""The commands that hosts and containers have, by name. Which of them a system has is its image's affair.

Only what the product, its tests or a referee runs is here; anything else is not found, aloud.
"""
