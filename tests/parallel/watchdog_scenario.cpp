// A program that stops making progress in the way its argument says, for watchdog_test.sh.
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "parallel/watchdog.h"
#include "parallel/world.h"

namespace {

void sleep_for(double seconds) {
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

}  // namespace

int main(int argc, char** argv) {
  using namespace elastron::parallel;
  const std::string scenario = argc > 1 ? argv[1] : "";
  World world;
  const auto group = world.split(0, world.rank(), "grad");
  const auto other = world.split(0, world.rank(), "data");
  const bool last = world.rank() == world.size() - 1;
  {
    Watchdog watchdog(world, 0.5);
    if (scenario == "before-first-beat") sleep_for(1.5);
    {
      const Watchdog::Scope loading(watchdog, "loading", 3.0);
      if (scenario == "long-phase") sleep_for(1.5);
    }
    const Watchdog::Scope step(watchdog, "step 12 forward");
    for (int i = 0; i < 5; ++i) {
      const Watchdog::Scope backward(watchdog, "step 12 backward");
      double sum = 1;
      group->all_reduce_host(std::span<double>(&sum, 1), ReduceOp::sum);
      if (scenario == "slow-but-alive") sleep_for(0.2);
      if (i < 3 || !last) continue;
      if (scenario == "loop") {
        for (volatile bool forever = true; forever;) {
        }
      }
      if (scenario == "stopped") raise(SIGSTOP);
      if (scenario == "sleep") sleep_for(1000);
    }
    if (scenario == "others-still-load") {
      // Longer than the time-out, but never silent.
      for (int i = 0; last && i < 30; ++i) {
        sleep_for(0.05);
        watchdog.beat();
      }
      group->barrier();
      sleep_for(0.3);  // silent for longer only as long as it waited
    }
    if (scenario == "stopped-in-a-collective") {
      // Rank 0 waits for the others and stops; then they come.
      std::vector<double> sums(1 << 21, 1.0);  // more than is sent ahead
      std::thread stop;
      if (world.rank() == 0) {
        stop = std::thread([] {
          sleep_for(0.1);
          raise(SIGSTOP);
        });
      } else {
        for (int i = 0; i < 8; ++i) {
          sleep_for(0.05);
          watchdog.beat();
        }
      }
      group->all_reduce_host(std::span(sums), ReduceOp::sum);
      if (stop.joinable()) stop.join();
    }
    if (scenario == "deadlock") (last ? other : group)->barrier();
    if (scenario == "off") {
      watchdog.set_timeout(0);
      sleep_for(1.5);
    }
  }
  if (scenario == "after-the-watchdog") sleep_for(1.5);
  group->barrier();
  world.finalize();
  std::puts("reached the end");
  return 0;
}
