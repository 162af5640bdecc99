"""The controlled study: pools of known composition, and problems whose answers are checked."""
