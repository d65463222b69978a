// What elastron_run_test.sh starts in place of elastron: listens for signals as the program does,
// then does what its arguments say.
//   loop DIR SECONDS   until asked to stop; then "saves" for that long, and ends with 75
//   idle DIR           never asks whether it is to stop
//   exit CODE          a fatal error on the last rank
//   lone CODE          all ranks end with CODE in good order
//   kill SIGNAL        the last rank is killed
//   train FILE K ...   writes its arguments to FILE; the last rank is killed in the first K runs
//   threads            rank 0 prints OMP_NUM_THREADS
//   echo               rank 0 copies its standard input to its standard output
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <span>
#include <string>
#include <vector>

#include "launch/signals.h"
#include "parallel/world.h"

namespace {

using elastron::ExitCode;
using elastron::parallel::Communicator;
using elastron::parallel::ReduceOp;
using elastron::parallel::World;

void report_ready(const Communicator& ranks, const std::string& folder) {
  std::ofstream(folder + "/ready." + std::to_string(ranks.rank())) << getpid() << "\n";
}

int loop(Communicator& ranks, const std::string& folder, double save_seconds) {
  elastron::launch::on_stop_request(elastron::launch::OnStop::note);
  report_ready(ranks, folder);
  for (int64_t stop = 0; stop == 0;) {
    usleep(20'000);
    stop = elastron::launch::stop_requested() ? 1 : 0;
    ranks.all_reduce_host(std::span<int64_t>(&stop, 1), ReduceOp::max);
  }
  usleep(static_cast<useconds_t>(save_seconds * 1e6));
  std::ofstream(folder + "/saved." + std::to_string(ranks.rank())) << "whole\n";
  ranks.barrier();
  return static_cast<int>(ExitCode::stopped);
}

int64_t runs_so_far(const std::string& file) {
  std::ifstream in(file);
  int64_t lines = 0;
  for (std::string line; std::getline(in, line);) ++lines;
  return lines;
}

int run(World& world, const std::vector<std::string>& arguments) {
  const auto ranks = world.split(0, world.rank(), "world");
  const bool last = world.rank() == world.size() - 1;
  const std::string& what = arguments.at(0);
  if (what == "loop") return loop(*ranks, arguments.at(1), std::stod(arguments.at(2)));
  if (what == "idle") {
    report_ready(*ranks, arguments.at(1));
    while (true) pause();
  }
  if (what == "exit") {
    if (last) world.abort(static_cast<ExitCode>(std::stoi(arguments.at(1))));
    ranks->barrier();
  }
  if (what == "lone") return std::stoi(arguments.at(1));
  if (what == "kill") {
    if (last) raise(std::stoi(arguments.at(1)));
    ranks->barrier();
  }
  if (what == "train") {
    const int64_t before = runs_so_far(arguments.at(1));
    ranks->barrier();
    if (world.rank() == 0) {
      std::ofstream out(arguments.at(1), std::ios::app);
      for (const std::string& argument : arguments) out << argument << ' ';
      out << '\n';
    }
    ranks->barrier();
    if (last && before < std::stoi(arguments.at(2))) raise(SIGKILL);
    ranks->barrier();
  }
  if (what == "threads" && world.rank() == 0) std::puts(std::getenv("OMP_NUM_THREADS"));
  if (what == "echo" && world.rank() == 0) std::cout << std::cin.rdbuf();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  elastron::launch::take_stop_signals();
  elastron::launch::on_stop_request(elastron::launch::OnStop::note);
  World world;
  elastron::launch::on_stop_request(elastron::launch::OnStop::end);
  const int code = run(world, std::vector<std::string>(argv + 1, argv + argc));
  world.finalize();
  return code;
}
