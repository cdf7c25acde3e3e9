"""The world behind the sandbox: traffic, replicas, GPU nodes, features and images, and what comes of them."""

from sandbox.world.world import World

__all__ = ["World"]
