#include "launch/self_check/child.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <omp.h>
#include <poll.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <optional>
#include <sstream>
#include <thread>
#include <utility>

#include "core/config/load.h"
#include "core/error.h"
#include "model/weights/model_config.h"

#if ELASTRON_WITH_CUDA
#include "core/cuda/device.h"
#endif

namespace elastron::launch::self_check {

namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kWord = "--check-kernels";
constexpr std::chrono::seconds kForDying{10};

// A file descriptor that is closed in the end.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return number_; }
  void reset(int number = -1) {
    if (number_ >= 0) close(number_);
    number_ = number;
  }

 private:
  int number_;
};

struct Pipe {
  Descriptor read, write;
  bool open() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return false;
    read.reset(ends[0]);
    write.reset(ends[1]);
    return true;
  }
};

// Ours, without what makes a process a rank of an MPI job.
std::vector<std::string> child_environment() {
  std::vector<std::string> variables;
  for (char** v = environ; *v != nullptr; ++v) {
    const std::string_view text(*v);
    const auto begins = [&](std::string_view name) { return text.starts_with(name); };
    if (begins("OMPI_") || begins("PMIX_") || begins("PMI_") || begins("OMP_NUM_THREADS=")) {
      continue;
    }
    variables.emplace_back(text);
  }
  variables.push_back(fmt::format("OMP_NUM_THREADS={}", omp_get_max_threads()));
  return variables;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

// One child: started, listened to, ended.
class Child {
 public:
  Child() = default;
  ~Child() {
    if (pid_ > 0) end();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // -> why not; empty: it runs.
  std::string start(const ChildTask& task, const std::vector<size_t>& wanted) {
    Pipe in, out;
    if (!in.open() || !out.open()) return std::string("cannot make a pipe: ") + strerror(errno);
    // A pipe holds 64 KiB, so that all is there before anyone reads.
    const std::string text = config::dump_config(*task.config);
    fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
    if (write(in.write.get(), text.data(), text.size()) != ssize_t(text.size())) {
      return "cannot hand the configuration over";
    }
    std::string list;
    for (const size_t i : wanted) list += fmt::format("{}{}", list.empty() ? "" : ",", i);
    std::vector<std::string> arguments = {"elastron", kWord, fmt::format("{}", task.gpu),
                                          task.trains ? "trains" : "infers", list};
    std::vector<std::string> environment = child_environment();
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, in.read.get(), STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&files, out.write.get(), STDOUT_FILENO);
    // What a runtime or an emulator says on its way out is not for the user: the parent says it.
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    // A terminal's Ctrl-C is the parent's to answer.
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    const int error = posix_spawn(&pid_, "/proc/self/exe", &files, &attributes,
                                  pointers(arguments).data(), pointers(environment).data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) {
      pid_ = -1;
      return std::string("cannot start a process: ") + strerror(error);
    }
    lines_.reset(fcntl(out.read.get(), F_DUPFD_CLOEXEC, 0));
    return "";
  }

  enum class Heard { line, end, nothing };
  // The next line, if it comes in time.
  Heard listen(double seconds, std::string& line) {
    const auto until = Clock::now() + std::chrono::duration<double>(seconds);
    while (true) {
      if (const size_t at = heard_.find('\n'); at != heard_.npos) {
        line = heard_.substr(0, at);
        heard_.erase(0, at + 1);
        return Heard::line;
      }
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count();
      pollfd file{lines_.get(), POLLIN, 0};
      const int ready = left > 0 ? poll(&file, 1, int(left)) : 0;
      if (ready == 0) return Heard::nothing;
      if (ready < 0) continue;  // a signal
      std::array<char, 4096> buffer{};
      const ssize_t n = read(lines_.get(), buffer.data(), buffer.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Heard::end;
      heard_.append(buffer.data(), size_t(n));
    }
  }

  // Kills it, or with `by_itself` waits for it first -> how it ended, in words. One that a driver
  // does not let go is left behind.
  std::string end(bool by_itself = false) {
    if (!by_itself) kill(pid_, SIGKILL);
    const auto until = Clock::now() + kForDying;
    int status = 0;
    while (Clock::now() < until) {
      const pid_t found = waitpid(pid_, &status, WNOHANG);
      if (found == pid_ || (found < 0 && errno != EINTR)) {
        pid_ = -1;
        return WIFSIGNALED(status)
                   ? fmt::format("its process ended with signal {}", WTERMSIG(status))
                   : fmt::format("its process ended with code {}", WEXITSTATUS(status));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    if (by_itself) return end();
    pid_ = -1;
    return "its process cannot be ended";
  }

 private:
  pid_t pid_ = -1;
  Descriptor lines_;
  std::string heard_;
};

// A line of the child: "begin 3", "agrees 3", "differs 3 dk: ...", or "cannot why".
struct Line {
  std::string word, rest;
  size_t check = 0;
  explicit Line(const std::string& text) {
    std::istringstream in(text);
    in >> word;
    if (word == "cannot") {
      std::getline(in >> std::ws, rest);
      return;
    }
    in >> check;
    std::getline(in >> std::ws, rest);
  }
};

// Listens to one child until it ends, hangs, or has done all; takes what was done from `wanted`.
void listen(Child& child, const ChildTask& task, const std::vector<ops::KernelCheck>& checks,
            std::vector<size_t>& wanted, Findings& findings) {
  std::optional<size_t> current;
  std::string reason;
  const size_t before = wanted.size();
  const auto found = [&](size_t check, Verdict verdict, std::string detail) {
    findings.push_back({checks[check].name, verdict, std::move(detail), checks[check].family});
    std::erase(wanted, check);
    current.reset();
  };
  while (!wanted.empty()) {
    std::string text;
    const auto heard = child.listen(task.seconds, text);
    if (heard == Child::Heard::line) {
      const Line line(text);
      if (line.word == "cannot") {
        reason = line.rest;
      } else if (line.check >= checks.size()) {
        break;
      } else if (line.word == "begin") {
        current = line.check;
      } else {
        const auto verdict = line.word == "agrees"    ? Verdict::agrees
                             : line.word == "differs" ? Verdict::differs
                             : line.word == "failed"  ? Verdict::failed
                                                      : Verdict::unchecked;
        found(line.check, verdict, line.rest);
      }
      continue;
    }
    const bool hung = heard == Child::Heard::nothing;
    const std::string end = child.end(/*by_itself=*/!hung);
    if (current) {
      found(*current, hung ? Verdict::hung : Verdict::failed,
            hung ? fmt::format("it did not end in {:g} s", task.seconds) : end);
      return;
    }
    // An error of the GPU takes the process with it: another goes on.
    if (!hung && reason.empty() && wanted.size() < before) return;
    if (reason.empty()) {
      reason = hung ? fmt::format("the process did not begin in {:g} s", task.seconds) : end;
    }
    break;
  }
  for (const size_t i : std::vector<size_t>(wanted)) found(i, Verdict::unchecked, reason);
}

#if ELASTRON_WITH_CUDA

void say(const char* word, size_t check, const std::string& rest = "") {
  std::string line = rest;
  for (char& c : line) c = c == '\n' ? ' ' : c;
  std::printf("%s %zu %s\n", word, check, line.c_str());
  std::fflush(stdout);
}

// False where nothing can follow in this process.
bool run_check(const ops::KernelCheck& check, size_t number, Device& gpu) {
  say("begin", number);
  try {
    const std::string difference = check.run(gpu);
    gpu.synchronize();
    say(difference.empty() ? "agrees" : "differs", number, difference);
  } catch (const UsageError& error) {  // no memory
    say("unchecked", number, error.what());
  } catch (const std::bad_alloc&) {
    say("unchecked", number, "out of memory");
  } catch (const CommunicationError& error) {  // the GPU gave up
    say("failed", number, error.what());
    return false;
  } catch (const std::exception& error) {
    say("failed", number, error.what());
  }
  return true;
}

void run_checks(int gpu_number, bool trains, const std::string& list) {
  const std::string text((std::istreambuf_iterator<char>(std::cin)), {});
  const auto config = config::parse_config<train::Config>(text, "standard input");
  cuda::CudaDevice gpu(gpu_number);
  const auto use = kernel_use(config, trains);
  ELASTRON_CHECK(use.has_value(), "self-check: nothing to check");
  const auto checks = ops::kernel_checks(*use, gpu);
  std::istringstream numbers(list);
  for (std::string number; std::getline(numbers, number, ',');) {
    const size_t i = std::stoul(number);
    if (!run_check(checks.at(i), i, gpu)) return;
  }
}

#endif

}  // namespace

std::optional<ops::KernelUse> kernel_use(const train::Config& config, bool trains) {
  const DType dtype = config.model.compute_dtype();
  if (dtype != DType::f32 && dtype != DType::bf16) return {};
  const auto m = model::read_model_shapes(config.model.path);
  return ops::KernelUse{.dtype = dtype,
                        .head_dim = m.head_dim,
                        .group = m.q_heads / m.kv_heads,
                        .pattern = config.router.head_pattern(),
                        .full_by = config.model.full_attention,
                        .experts = m.experts.has_value(),
                        .trains = trains};
}

Findings check_in_child(const ChildTask& task, const std::vector<ops::KernelCheck>& checks,
                        std::vector<size_t> wanted) {
  Findings findings;
  while (!wanted.empty()) {
    Child child;
    if (const std::string why = child.start(task, wanted); !why.empty()) {
      for (const size_t i : wanted) {
        findings.push_back({checks[i].name, Verdict::unchecked, why, checks[i].family});
      }
      break;
    }
    listen(child, task, checks, wanted, findings);
  }
  return findings;
}

bool is_child(int argc, char** argv) { return argc == 5 && std::strcmp(argv[1], kWord) == 0; }

int child_main([[maybe_unused]] int argc, [[maybe_unused]] char** argv) {
  // It ends with its parent.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
#if ELASTRON_WITH_CUDA
  try {
    run_checks(std::atoi(argv[2]), std::strcmp(argv[3], "trains") == 0, argv[4]);
  } catch (const std::exception& error) {
    std::string line = error.what();
    for (char& c : line) c = c == '\n' ? ' ' : c;
    std::printf("cannot %s\n", line.c_str());
  }
#endif
  std::fflush(stdout);
  _exit(0);
}

}  // namespace elastron::launch::self_check
