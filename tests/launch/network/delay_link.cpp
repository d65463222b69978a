// delay_link TAP NAMESPACE_FILE OTHER_TAP MICROSECONDS: a cable with a length. Carries the Ethernet
// frames of a TAP device of this network namespace to one of another namespace and back, each frame
// that much later. For kernels without netem. Prints "ready" once both ends are open.
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

struct Frame {
  Clock::time_point due;
  std::vector<char> bytes;
};

[[noreturn]] void give_up(const char* what) {
  std::printf("%s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

int open_tap(const char* name) {
  const int file = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) give_up("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  std::strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  if (ioctl(file, TUNSETIFF, &request) != 0) give_up(name);
  return file;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: delay_link TAP NAMESPACE_FILE OTHER_TAP MICROSECONDS\n");
    return 2;
  }
  const std::chrono::microseconds delay(std::atoll(argv[4]));
  std::array<int, 2> taps{};
  taps[0] = open_tap(argv[1]);
  const int space = open(argv[2], O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) give_up(argv[2]);
  taps[1] = open_tap(argv[3]);
  std::printf("ready\n");
  std::fflush(stdout);

  std::array<std::deque<Frame>, 2> from;  // frames under way, by where they came in
  std::array<char, 65536> buffer;
  for (;;) {
    // Sleep until a frame comes in or the first one is due.
    timespec nap{};
    const timespec* until = nullptr;
    for (const auto& queue : from) {
      if (queue.empty()) continue;
      const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(
          std::max(queue.front().due - Clock::now(), Clock::duration::zero()));
      if (until == nullptr || left.count() < nap.tv_sec * 1'000'000'000 + nap.tv_nsec) {
        nap = {left.count() / 1'000'000'000, left.count() % 1'000'000'000};
        until = &nap;
      }
    }
    std::array<pollfd, 2> ready{{{taps[0], POLLIN, 0}, {taps[1], POLLIN, 0}}};
    if (ppoll(ready.data(), ready.size(), until, nullptr) < 0 && errno != EINTR) give_up("ppoll");
    for (size_t end = 0; end < 2; ++end) {
      ssize_t size = 0;
      while ((size = read(taps[end], buffer.data(), buffer.size())) > 0) {
        from[end].push_back({Clock::now() + delay, {buffer.data(), buffer.data() + size}});
      }
      auto& queue = from[end];
      while (!queue.empty() && queue.front().due <= Clock::now()) {
        const auto& bytes = queue.front().bytes;
        // A device that is down or full loses frames, as cables do.
        [[maybe_unused]] const ssize_t sent = write(taps[1 - end], bytes.data(), bytes.size());
        queue.pop_front();
      }
    }
  }
}
