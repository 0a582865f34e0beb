"""Collision models: at every step a fresh ancilla meets a small memory, interacts with it and is thrown away."""

from qinn.quantum.collisions.ancillas import Ancillas
from qinn.quantum.collisions.exact_collisions import ExactCollisions
from qinn.quantum.collisions.influence import (
    CollisionInfluence,
    ancilla_entropies,
    bloch_maps,
    collision_influence,
    collision_maps,
)
from qinn.quantum.collisions.interaction import Interaction, LearnableInteraction
from qinn.quantum.collisions.kraus import kraus_operators
from qinn.quantum.collisions.outputs import CollisionStates
from qinn.quantum.collisions.sampled import SampledCollisions

__all__ = [
    "Ancillas",
    "CollisionInfluence",
    "CollisionStates",
    "ExactCollisions",
    "Interaction",
    "LearnableInteraction",
    "SampledCollisions",
    "ancilla_entropies",
    "bloch_maps",
    "collision_influence",
    "collision_maps",
    "kraus_operators",
]
