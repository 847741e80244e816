"""The loop with one agent, whose events come without the member's index."""

from clbench.loop import Loop, Member


class Run:
    """One agent on the stream of an environment; `options` are those of `clbench.loop.Loop`."""

    def __init__(self, env, agent, *, name, seeds, observer=None, **options):
        self.loop = Loop(env, agent, [Member(name, agent, tuple(seeds), observer)], **options)
        self.state_dict, self.load_state_dict = self.loop.state_dict, self.loop.load_state_dict

    def __iter__(self):
        return (event for _, event in self.loop)
