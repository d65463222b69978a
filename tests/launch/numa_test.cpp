// Threads and memory beside the GPU, on machines made of files.
#include "launch/numa.h"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <numeric>
#include <thread>

#include "launch/gpu_sharing.h"
#include "tests/support/scratch.h"

namespace elastron::launch {
namespace {

std::vector<int> allowed() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cores;
  for (int c = 0; c < CPU_SETSIZE; ++c) {
    if (CPU_ISSET(c, &set)) cores.push_back(c);
  }
  return cores;
}

int memory_policy() {
  int policy = -1;
  return syscall(SYS_get_mempolicy, &policy, nullptr, 0, nullptr, 0) == 0 ? policy : -1;
}

const std::string kGpu = "0000:4d:00.0";

// A machine of several nodes with the GPU on one of them. Tests run in a thread of their own, and
// what they bind is loosened again.
class Numa : public ::testing::Test {
 protected:
  void SetUp() override { before_ = allowed(); }
  void TearDown() override {
    unsetenv("ELASTRON_NUMA");
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int c : before_) CPU_SET(c, &set);
    sched_setaffinity(0, sizeof set, &set);
    syscall(SYS_set_mempolicy, MPOL_DEFAULT, nullptr, 0);
  }
  void machine(const std::vector<std::string>& nodes, const std::string& gpu_node) {
    machine_.write("devices/system/node/online", "0-" + std::to_string(nodes.size() - 1) + "\n");
    for (size_t n = 0; n < nodes.size(); ++n) {
      machine_.write("devices/system/node/node" + std::to_string(n) + "/cpulist", nodes[n] + "\n");
    }
    machine_.write("bus/pci/devices/" + kGpu + "/numa_node", gpu_node + "\n");
  }
  NumaBinding bind() { return bind_beside_gpu(kGpu, machine_.path()); }
  // The first half of the cores this process may use, and the rest with those it may not.
  std::string first() const { return list(before_.begin(), before_.begin() + half()); }
  std::string rest() const { return list(before_.begin() + half(), before_.end()); }
  std::ptrdiff_t half() const { return std::ptrdiff_t(before_.size() + 1) / 2; }
  static std::string list(auto begin, auto end) {
    std::string text;
    for (; begin != end; ++begin) text += std::to_string(*begin) + ",";
    return text + "1020";  // and a core that is not there
  }

  std::vector<int> before_;
  test::Scratch machine_;
};

TEST(CpuList, AsTheKernelWritesIt) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11\n"), (std::vector{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list(""), std::vector<int>{});
  EXPECT_EQ(parse_cpu_list("-1"), std::vector<int>{});
  EXPECT_EQ(parse_cpu_list("5"), std::vector{5});
  EXPECT_EQ(parse_cpu_list("5,x"), std::vector{5});
  EXPECT_EQ(parse_cpu_list("5-"), std::vector<int>{});
}

TEST(CoresToTake, OfTheNodeUnlessOthersWereChosen) {
  using Cores = std::vector<int>;
  const Cores node = {4, 5, 6, 7}, all = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  EXPECT_EQ(cores_to_take(node, all), node);              // a quarter of the machine, but whole
  EXPECT_EQ(cores_to_take(node, {5, 6}), Cores({5, 6}));  // given beside the GPU
  EXPECT_EQ(cores_to_take(node, {3, 4}), Cores({4}));     // half of what was given
  EXPECT_EQ(cores_to_take(node, {1, 2, 3, 4}), Cores{});  // chosen elsewhere
  EXPECT_EQ(cores_to_take(node, {0, 1}), Cores{});
}

TEST_F(Numa, ThreadsAndMemoryGoToTheGpusNode) {
  machine({first(), rest()}, "0");
  std::thread early([] { sleep(1); });  // a library's
  const NumaBinding b = bind();
  EXPECT_EQ(b.node, 0);
  EXPECT_EQ(b.cores, half());
  const std::vector<int> wanted(before_.begin(), before_.begin() + half());
  EXPECT_EQ(allowed(), wanted);
  cpu_set_t set;
  ASSERT_EQ(pthread_getaffinity_np(early.native_handle(), sizeof set, &set), 0);
  EXPECT_EQ(CPU_COUNT(&set), half());
  std::thread([&] { EXPECT_EQ(allowed(), wanted); }).join();
  EXPECT_TRUE(memory_policy() == MPOL_PREFERRED || memory_policy() == -1);
  EXPECT_EQ(b.state.find("node 0 ("), 0u) << b.state;
  early.join();
}

TEST_F(Numa, AMemoryPolicyThatSomebodyChoseStays) {
  unsigned long nodes = 1;
  if (syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, &nodes, 8 * sizeof nodes) != 0) {
    EXPECT_EQ(memory_policy(), -1);  // the kernel has no policies
  }
  const int chosen = memory_policy();
  machine({first(), rest()}, "0");
  EXPECT_EQ(bind().node, 0);
  EXPECT_EQ(memory_policy(), chosen);
}

TEST_F(Numa, WhatIsNotKnownBindsNothing) {
  machine({first(), rest()}, "-1");
  NumaBinding b = bind();
  EXPECT_EQ(b.node, -1);
  EXPECT_EQ(b.state, "unbound: the kernel does not say on which node the GPU is");
  b = bind_beside_gpu("", machine_.path());
  EXPECT_EQ(b.node, -1);
  EXPECT_EQ(allowed(), before_);
  // One node: there is nothing to choose, and nothing to say.
  const test::Scratch small;
  small.write("devices/system/node/online", "0\n");
  EXPECT_EQ(bind_beside_gpu(kGpu, small.path()).state, "");
  EXPECT_EQ(bind_beside_gpu(kGpu, small / "none").state, "");
}

TEST_F(Numa, TheGivenCoresAreHeeded) {
  // All of them are of the other node.
  machine({"1020-1023", first()}, "0");
  NumaBinding b = bind();
  EXPECT_EQ(b.node, -1);
  EXPECT_EQ(b.state.find("unbound: most of the "), 0u) << b.state;
  EXPECT_EQ(allowed(), before_);
  // Those of the node that were given, where they are the most of what was given.
  machine({list(before_.begin(), before_.end()), "1010"}, "0");
  b = bind();
  EXPECT_EQ(b.node, 0);
  EXPECT_EQ(allowed(), before_);
}

TEST_F(Numa, IsTurnedOff) {
  machine({first(), rest()}, "0");
  setenv("ELASTRON_NUMA", "off", 1);
  EXPECT_EQ(bind().state, "unbound: ELASTRON_NUMA is off");
  EXPECT_EQ(allowed(), before_);
}

TEST(DescribeBindings, CountsRanks) {
  EXPECT_EQ(describe_bindings({"", ""}), "");
  EXPECT_EQ(describe_bindings({"node 0 (64 cores)", "node 1 (64 cores)", "node 0 (64 cores)"}),
            "2 ranks on node 0 (64 cores), 1 rank on node 1 (64 cores)");
  EXPECT_EQ(describe_bindings({"unbound: why"}), "1 rank unbound: why");
}

using Seen = std::vector<std::vector<std::string>>;
std::vector<int> ordinals(const Seen& seen) {
  std::vector<int> out;
  for (const TakenGpu& t : share_gpus(seen)) out.push_back(t.ordinal);
  return out;
}
std::vector<int> sharers(const Seen& seen) {
  std::vector<int> out;
  for (const TakenGpu& t : share_gpus(seen)) out.push_back(t.sharers);
  return out;
}

TEST(ShareGpus, RanksThatSeeAllTakeThemInTurns) {
  const Seen all(4, {"a", "b"});
  EXPECT_EQ(ordinals(all), (std::vector{0, 1, 0, 1}));
  EXPECT_EQ(sharers(all), (std::vector{2, 2, 2, 2}));
  // Two machines.
  const Seen two = {{"a", "b"}, {"a", "b"}, {"c", "d"}, {"c", "d"}};
  EXPECT_EQ(ordinals(two), (std::vector{0, 1, 0, 1}));
  EXPECT_EQ(sharers(two), (std::vector{1, 1, 1, 1}));
}

TEST(ShareGpus, OnePerTask) {
  const Seen own = {{"a"}, {"b"}, {"c"}};
  EXPECT_EQ(ordinals(own), (std::vector{0, 0, 0}));
  EXPECT_EQ(sharers(own), (std::vector{1, 1, 1}));
  EXPECT_EQ(sharers({{"a"}, {"a"}}), (std::vector{2, 2}));
}

TEST(ShareGpus, WhoHasLittleChoiceGoesFirst) {
  const Seen some = {{"a", "b"}, {"a"}, {"b", "a", "c"}};
  EXPECT_EQ(ordinals(some), (std::vector{1, 0, 2}));
  EXPECT_EQ(sharers(some), (std::vector{1, 1, 1}));
}

TEST(ShareGpus, RanksThatSeeTheSameInAnotherOrder) {
  EXPECT_EQ(ordinals({{"a", "b"}, {"b", "a"}}), (std::vector{0, 0}));
}

TEST(ShareGpus, RanksThatSeeNone) {
  EXPECT_EQ(ordinals({{}, {"a"}}), (std::vector{-1, 0}));
  EXPECT_EQ(sharers({{}, {"a"}}), (std::vector{0, 1}));
}

}  // namespace
}  // namespace elastron::launch
