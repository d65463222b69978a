#include "serving/connections.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <set>

namespace elastron::serving {

namespace {

// Address and port; port -1 where it is no TCP socket.
Peer end_of(int socket, int (*get)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (get(socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return {text, ntohs(v4.sin_port)};
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    return {text, ntohs(v6.sin6_port)};
  }
  return {};
}

}  // namespace

std::vector<Connections::Seen> Connections::sockets() const {
  std::vector<Seen> found;
  const auto close = [](DIR* d) { closedir(d); };
  const std::unique_ptr<DIR, decltype(close)> folder(opendir("/proc/self/fd"), close);
  if (!folder) return found;
  while (const dirent* entry = readdir(folder.get())) {
    char* rest = nullptr;
    const long fd = std::strtol(entry->d_name, &rest, 10);
    if (*rest != '\0' || rest == entry->d_name) continue;
    if (end_of(int(fd), getsockname).port != local_port_) continue;
    const Peer peer = end_of(int(fd), getpeername);
    if (peer.port >= 0) found.push_back({int(fd), peer});
  }
  return found;
}

void Connections::begin(const Peer& peer) {
  const std::lock_guard lock(mutex_);
  peers_[peer] = {.busy = true, .since = std::chrono::steady_clock::now()};
}

void Connections::end(const Peer& peer) {
  const std::lock_guard lock(mutex_);
  peers_[peer] = {.busy = false, .since = std::chrono::steady_clock::now()};
}

void Connections::sweep() {
  const auto now = std::chrono::steady_clock::now();
  const auto open = sockets();
  const std::lock_guard lock(mutex_);
  std::set<Peer> there;
  for (const Seen& seen : open) {
    there.insert(seen.peer);
    const State& state = peers_.try_emplace(seen.peer, State{false, now}).first->second;
    if (state.busy || now - state.since <= time_) continue;
    // The library's thread finds it at its end, and closes it. It may have done so just now.
    if (end_of(seen.socket, getpeername) == seen.peer) shutdown(seen.socket, SHUT_RDWR);
  }
  std::erase_if(peers_, [&](const auto& p) { return !p.second.busy && !there.contains(p.first); });
}

int64_t Connections::count() const { return int64_t(sockets().size()); }

int Connections::socket_of(const Peer& peer) const {
  for (const Seen& seen : sockets()) {
    if (seen.peer == peer) return seen.socket;
  }
  return -1;
}

bool Connections::is_closed(int socket) {
  char byte = 0;
  const ssize_t n = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

}  // namespace elastron::serving
