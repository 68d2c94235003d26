"""How often the clock looks: projects lapse, holds run out."""

# Readers see a hold that ran out as free at once; the event that tells the other services waits for this at most.
EXPIRE_SECONDS = 5.0
LAPSE_SECONDS = 60.0
