"""A plug-in: a method that writes the hash of all weights with which a process begins."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from gconv_gan import parts
from gconv_gan.methods.method import Losses, Method, Player, PlayerName


class WeightHashes(Method):
    """Write ``$HASHES/PROCESSES-RANK`` at the start of a run, after the methods that are listed before."""

    def start(self, players: Mapping[PlayerName, Player], losses: Losses) -> None:
        digest = hashlib.sha256()
        for player in players.values():
            for tensor in player.network.state_dict().values():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        name = f"{os.environ.get('WORLD_SIZE', '1')}-{os.environ.get('RANK', '0')}"
        Path(os.environ["HASHES"], name).write_text(digest.hexdigest())


parts.METHODS["weight_hashes"] = WeightHashes
