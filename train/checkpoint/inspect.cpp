#include "train/checkpoint/inspect.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <fstream>
#include <new>

#include "core/error.h"
#include "train/checkpoint/integrity.h"

namespace elastron::train {

namespace {

constexpr rlim_t kMostSeconds = 300;            // of processor time: 1 TB of checksums
constexpr rlim_t kMostBytes = rlim_t(2) << 30;  // beyond what the process has mapped already
const std::string kRemedy = "the file is damaged; use another checkpoint";

void limit(int resource, rlim_t most) {
  const rlimit both{most, most};
  setrlimit(__rlimit_resource(resource), &both);
}

void limit_this_process() {
  limit(RLIMIT_CPU, kMostSeconds);
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_FSIZE, 0);
#if !defined(__SANITIZE_ADDRESS__)  // which maps terabytes
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  limit(RLIMIT_AS, rlim_t(pages) * rlim_t(sysconf(_SC_PAGESIZE)) + kMostBytes);
#endif
}

void write_all(int pipe, const std::string& text) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(pipe, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    at += size_t(n);
  }
}

std::string read_all(int pipe) {
  std::string text;
  char buffer[4096];
  while (true) {
    const ssize_t n = read(pipe, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return text;
    text.append(buffer, size_t(n));
  }
}

// The child's whole life. -> one character for the exit code, then the text.
std::string answer(const std::string& path, const std::function<std::string()>& read) {
  const auto failed = [&](const Error& error) {
    return char('0' + int(error.kind())) + std::string(error.what());
  };
  try {
    limit_this_process();
    return "0" + read();
  } catch (const Error& error) {
    return failed(error);
  } catch (const std::bad_alloc&) {
    return failed(CheckpointError("the file asks for too much memory", path, kRemedy));
  } catch (const std::exception& error) {
    return failed(
        CheckpointError(std::string("cannot read the file: ") + error.what(), path, kRemedy));
  }
}

std::string describe(const std::string& path) {
  const Hdf5File file = Hdf5File::open(path, false);
  check_format(file);
  const Checksums sealed = sealed_checksums(file);
  const auto datasets = sealed_datasets(file, sealed);
  compare_checksums(file, sealed, combine_digests(datasets, {own_digests(file, datasets, 0, 1)}));
  const CheckpointHeader header = read_header(file);
  std::string text = fmt::format(
      "{}\n  whole: yes (every checksum verified)\n  format version: {}\n  written by elastron {}\n"
      "  objective: {}\n  step: {}\n  tokens seen: {}\n  backbone: {}\n",
      path, file.integer_attribute("format_version"), file.text_attribute("elastron_version"),
      header.objective, header.step, header.tokens_seen, header.backbone_fingerprint);
  const std::pair<const char*, const NamedValues*> lists[] = {
      {"state", &header.state}, {"data", &header.data}, {"random", &header.random}};
  for (const auto& [title, values] : lists) {
    for (const auto& [key, value] : *values)
      text += fmt::format("  {} {}: {}\n", title, key, value);
  }
  int64_t elements = 0;
  size_t moments = 0;
  std::string tensors;
  const std::string prefix = "/params/";
  for (const Hdf5Dataset& d : datasets) {
    if (d.path.starts_with("/optimizer/")) ++moments;
    if (!d.path.starts_with(prefix)) continue;
    elements += d.shape.numel();
    tensors += fmt::format("    {} {} {} {}\n", sealed.at(d.path), d.path.substr(prefix.size()),
                           dtype_name(d.dtype), d.shape.str());
  }
  return text + fmt::format("  optimiser tensors: {}\n  parameters: {}\n", moments, elements) +
         tensors;
}

}  // namespace

std::string read_in_child(const std::string& path, const std::function<std::string()>& read) {
  int ends[2];
  if (pipe(ends) != 0) {
    throw CheckpointError(std::string("cannot make a pipe: ") + std::strerror(errno), path,
                          "close files or raise the limit");
  }
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    write_all(ends[1], answer(path, read));
    _exit(0);
  }
  const int fork_error = errno;
  close(ends[1]);
  if (child < 0) {
    close(ends[0]);
    throw CheckpointError(std::string("cannot start a process: ") + std::strerror(fork_error), path,
                          "free memory or processes");
  }
  const std::string text = read_all(ends[0]);
  close(ends[0]);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status)) {
    const int signal = WTERMSIG(status);
    const bool time = signal == SIGXCPU || signal == SIGKILL;
    throw CheckpointError(time ? "reading the file took too long"
                               : fmt::format("HDF5 crashed on the file (signal {})", signal),
                          path, kRemedy);
  }
  if (text.empty() || WEXITSTATUS(status) != 0) {
    throw CheckpointError("HDF5 crashed on the file", path, kRemedy);
  }
  if (text[0] != '0') throw Error(ExitCode(text[0] - '0'), text.substr(1));
  return text.substr(1);
}

std::string inspect_checkpoint(const std::string& path) {
  return read_in_child(path, [&] { return describe(path); });
}

void probe_checkpoint(const std::string& path) {
  read_in_child(path, [&] {
    const Hdf5File file = Hdf5File::open(path, false);
    check_format(file);
    sealed_datasets(file, sealed_checksums(file));
    return std::string();
  });
}

}  // namespace elastron::train
