// The server's connections, which the HTTP library keeps to itself: which of them has been sending a request
// for too long, and whether a request's client is still there.
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace elastron::serving {

// A peer as the library tells of it.
struct Peer {
  std::string address;
  int port = -1;
  auto operator<=>(const Peer&) const = default;
};

// Thread-safe.
class Connections {
 public:
  // local_port: of the server. A whole request must have come within `time` of the connection's begin or of
  // the answer before.
  Connections(int local_port, std::chrono::seconds time) : local_port_(local_port), time_(time) {}

  // Its request is there, or answered.
  void begin(const Peer& peer);
  void end(const Peer& peer);
  // Ends the connections that take too long. To be called every second or so.
  void sweep();
  int64_t count() const;

  // The open socket to that peer; -1: there is none.
  int socket_of(const Peer& peer) const;
  // Whether the other side has closed it.
  static bool is_closed(int socket);

 private:
  struct Seen {
    int socket;
    Peer peer;
  };
  std::vector<Seen> sockets() const;

  int local_port_;
  std::chrono::seconds time_;
  mutable std::mutex mutex_;
  struct State {
    bool busy = false;
    std::chrono::steady_clock::time_point since;
  };
  std::map<Peer, State> peers_;
};

}  // namespace elastron::serving
