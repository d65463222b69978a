// Runs over several hosts, made from network namespaces of this machine with a bandwidth limit and
// a delay per link (network/hosts.sh): mpirun over TCP gives the curve of one rank, and a link that
// is cut ends the job with exit code 6. Skipped, with the reason, where there can be no such hosts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

using Seconds = std::chrono::duration<double>;

// Runs of a command line: exit code and what it wrote.
Outcome shell(const std::string& command) { return run_program("", 0, command); }

class Hosts {
 public:
  explicit Hosts(int count) {
    made_ = shell(script("up") + " " + std::to_string(getpid()) + " " + std::to_string(count) +
                  " 500mbit 200 " ELASTRON_DELAY_LINK);
  }
  ~Hosts() { shell(script("down")); }
  Hosts(const Hosts&) = delete;
  Hosts& operator=(const Hosts&) = delete;

  const Outcome& made() const { return made_; }

  // elastron-run on host1, with `slots` ranks per host.
  Outcome elastron_run(int hosts, int slots, const std::string& arguments) const {
    std::string list;
    for (int h = 1; h <= hosts; ++h) {
      list += "host" + std::to_string(h) + " slots=" + std::to_string(slots) + "\n";
    }
    write_text(folder_ / "list", list);
    return shell(
        "export ELASTRON_BIN=" ELASTRON_PROGRAM
        " OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive"
        " OMPI_MCA_plm_rsh_agent='" +
        script("shell") +
        "' OMPI_MCA_btl=tcp,self OMPI_MCA_btl_tcp_if_include=eth0 OMPI_MCA_oob_tcp_if_include=eth0;"
        " timeout -k 5 120 " +
        script("on") + " host1 " + ELASTRON_SOURCE_DIR + "/launch/elastron-run -np " +
        std::to_string(hosts * slots) + " --hostfile " + (folder_ / "list") + " " + arguments);
  }

  void cut(const std::string& host) const {
    EXPECT_EQ(shell(script("cut") + " " + host).code, 0) << host;
  }

  std::string processes() const { return shell(script("processes")).out; }

 private:
  std::string script(const std::string& action) const {
    return std::string(ELASTRON_SOURCE_DIR) + "/tests/launch/network/hosts.sh " + action + " " +
           folder_.path();
  }

  Scratch folder_;
  Outcome made_;
};

std::string router_arguments(const std::string& folder, const std::string& more) {
  return "train " + std::string(ELASTRON_SOURCE_DIR) +
         "/tests/launch/router.yaml --set model.path=" + tiny_backbone() +
         " --set output.dir=" + folder + " " + more;
}

// Skips the test where this machine cannot have hosts.
#define ELASTRON_NEED(hosts)                                         \
  if ((hosts).made().code == 77) GTEST_SKIP() << (hosts).made().err; \
  ASSERT_EQ((hosts).made().code, 0) << (hosts).made().out << (hosts).made().err

TEST(Network, TheCurveOverTcpIsThatOfOneRank) {
  const Hosts hosts(4);
  ELASTRON_NEED(hosts);
  const Scratch one;
  const std::string steps = "--set train.steps=4 ";
  const Outcome alone = elastron(0, router_arguments(one.path(), steps));
  ASSERT_EQ(alone.code, 0) << alone.err;
  const struct {
    int hosts, slots;
    std::string layout;
  } runs[] = {
      {2, 2, "parallel.tensor=2"},
      {2, 2, "parallel.context=2"},
  };
  for (const auto& run : runs) {
    const Scratch other;
    const Outcome over_tcp = hosts.elastron_run(
        run.hosts, run.slots, router_arguments(other.path(), steps + "--set " + run.layout));
    ASSERT_EQ(over_tcp.code, 0) << over_tcp.err;
    expect_same_curve(
        metrics(one.path()), metrics(other.path()), 1e-5,
        std::to_string(run.hosts) + " hosts of " + std::to_string(run.slots) + ", " + run.layout);
  }
  EXPECT_EQ(hosts.processes(), "");
}

// Cuts a link of a training over `count` hosts once it has made a few steps.
void expect_lost(int count, const std::string& victim, const std::string& names) {
  constexpr double kTimeout = 4, kLauncher = 10, kSlack = 10;
  const Hosts hosts(count);
  ELASTRON_NEED(hosts);
  const Scratch run;
  const std::string arguments =
      router_arguments(run.path(), "--set train.steps=1000000 --set parallel.timeout_seconds=" +
                                       std::to_string(int(kTimeout)));
  std::chrono::steady_clock::time_point cut_at;
  std::thread cutter([&] {
    for (int tries = 0; tries < 300; ++tries) {
      const std::string lines = read_text(run / "metrics.jsonl");
      if (std::count(lines.begin(), lines.end(), '\n') > 5) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    cut_at = std::chrono::steady_clock::now();
    hosts.cut(victim);
  });
  const Outcome outcome = hosts.elastron_run(count, 1, arguments);
  const auto ended_at = std::chrono::steady_clock::now();
  cutter.join();
  EXPECT_LE(Seconds(ended_at - cut_at).count(), kTimeout + kLauncher + kSlack);
  expect_error(outcome, 6,
               {"no progress for ", " step ", "rank 0, waiting in ",
                "nothing is heard from another machine (" + names + ")"});
  EXPECT_FALSE(metrics(run.path()).empty());
  // What the launcher cannot reach ends too.
  std::string left;
  for (int tries = 0; tries < 150 && !(left = hosts.processes()).empty(); ++tries) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  EXPECT_EQ(left, "");
}

TEST(Network, ACutLinkBetweenTwoHostsEndsTheJob) { expect_lost(2, "host2", "rank 1 on host2"); }

TEST(Network, ACutLinkOfOneOfFourHostsEndsTheJob) {
  expect_lost(4, "host3", "rank 1 on host2; rank 2 on host3; rank 3 on host4");
}

}  // namespace
}  // namespace elastron::test
