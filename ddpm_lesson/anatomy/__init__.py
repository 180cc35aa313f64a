"""The U-Net taken apart: what each block does, what it costs, and what is lost without it.

One file a block: ``embedding``, ``residual``, ``attention`` (with ``eyes``, where far pixels must agree), ``resample``
and ``network``; ``measure`` weighs memory and time.
"""
