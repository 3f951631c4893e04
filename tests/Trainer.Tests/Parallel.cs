// These tests wait for processes of their own, in folders of their own. In the other projects tests run one at a time:
// libtorch's random generator, which every network's first weights are drawn from, is the process's.
[assembly: Parallelizable(ParallelScope.Fixtures)]
