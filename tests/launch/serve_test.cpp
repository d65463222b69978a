// elastron serve through the real program, with a client of its HTTP library: what it answers, what it refuses,
// who goes away, and how it ends.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <future>
#include <regex>
#include <thread>

#include "tests/launch/program.h"

namespace elastron::test {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

const std::string kTiny = std::string(ELASTRON_SOURCE_DIR) + "/configs/tiny/backbone";
// Three heads of four are sparse, with few keys.
const std::string kRouting =
    " --force random:0.75:3 --set router.ssa.sink=8 --set router.ssa.local=16 --set "
    "router.ssa.block=8 ";

// The program in the background, until it ends or this does.
class Server {
 public:
  // `before` goes before the program ("ulimit -v 100000;").
  explicit Server(const std::string& more = "", int ranks = 0, const std::string& before = "") {
    const std::string program = ranks > 0 ? "env ELASTRON_BIN=" + std::string(ELASTRON_PROGRAM) +
                                                " " + ELASTRON_SOURCE_DIR +
                                                "/launch/elastron-run -np " + std::to_string(ranks)
                                          : std::string(ELASTRON_PROGRAM);
    const std::string command = before + "exec " + for_shell(program) +
                                " serve --name tiny --port 0 --model " + for_shell(kTiny) + " " +
                                more + " > " + (scratch_ / "out") + " 2> " + (scratch_ / "err");
    pid_ = fork();
    if (pid_ == 0) {
      setpgid(0, 0);
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    const std::regex serving("serving tiny on http://127.0.0.1:([0-9]+)\n");
    for (int i = 0; i < 1200 && port_ == 0 && is_running(); ++i) {
      std::smatch found;
      const std::string out = read_text(scratch_ / "out");
      if (std::regex_search(out, found, serving)) port_ = std::stoi(found[1]);
      if (port_ == 0) std::this_thread::sleep_for(100ms);
    }
    EXPECT_NE(port_, 0) << err();
  }
  ~Server() {
    if (pid_ > 0) {
      kill(-pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  int port() const { return port_; }
  void signal(int number) const { kill(pid_, number); }
  int wait() {
    int status = 0;
    waitpid(std::exchange(pid_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string err() const { return read_text(scratch_ / "err"); }
  httplib::Client client() const {
    httplib::Client c("127.0.0.1", port_);
    c.set_read_timeout(120s);
    return c;
  }
  json post(const std::string& path, const json& body, int status = 200) const {
    auto c = client();
    const auto answer = c.Post(path, body.dump(), "application/json");
    EXPECT_TRUE(answer) << body;
    if (!answer) return {};
    EXPECT_EQ(answer->status, status) << answer->body;
    return json::parse(answer->body);
  }
  json complete(json body, int status = 200) const {
    if (!body.contains("temperature")) body["temperature"] = 0;
    return post("/v1/completions", body, status);
  }
  // A sample of /metrics.
  double metric(const std::string& name) const {
    auto c = client();
    const auto answer = c.Get("/metrics");
    if (!answer) return NAN;
    const auto at = answer->body.find("\n" + name + " ");
    return at == std::string::npos ? NAN : std::stod(answer->body.substr(at + name.size() + 2));
  }
  void expect_all_pages_free() const {
    for (int i = 0; i < 100 && metric("elastron_cache_pages_used") != 0; ++i) {
      std::this_thread::sleep_for(100ms);
    }
    EXPECT_EQ(metric("elastron_cache_pages_used"), 0);
    EXPECT_EQ(metric("elastron_requests_open"), 0);
  }

 private:
  bool is_running() const { return waitpid(pid_, nullptr, WNOHANG) == 0; }
  Scratch scratch_;
  pid_t pid_ = 0;
  int port_ = 0;
};

std::string text_of(const json& answer, size_t choice = 0) {
  return answer.at("choices").at(choice).at("text");
}

// What a stream sends, and whether it came to its end.
struct Streamed {
  std::vector<json> chunks;
  bool done = false;
};
Streamed streamed(const Server& server, const std::string& path, const json& body) {
  auto c = server.client();
  std::string all;
  const auto answer = c.Post(path, httplib::Headers{}, body.dump(), "application/json");
  EXPECT_TRUE(answer);
  if (!answer) return {};
  EXPECT_EQ(answer->get_header_value("Content-Type"), "text/event-stream");
  Streamed s;
  std::istringstream lines(answer->body);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    EXPECT_TRUE(line.starts_with("data: ")) << line;
    const std::string data = line.substr(6);
    EXPECT_FALSE(s.done);
    if (data == "[DONE]") {
      s.done = true;
    } else {
      s.chunks.push_back(json::parse(data));
    }
  }
  return s;
}

const std::vector<int> kPrompt = {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};

std::vector<int> prompt(int begin, int length) {
  std::vector<int> ids;
  for (int i = 0; i < length; ++i) ids.push_back(2 + (begin * 37 + i * 11) % 180);
  return ids;
}

TEST(Serve, AnswersAsGenerateDoesWhateverRunsBeside) {
  const Server server(kRouting);
  std::vector<std::string> alone;
  for (int i = 0; i < 3; ++i) {
    const auto run =
        elastron(0, "generate --model " + kTiny + kRouting + "--max-tokens 12 --ids '" +
                        json(prompt(i, 60 + 30 * i)).dump() + "' --ignore-eos");
    ASSERT_EQ(run.code, 0) << run.err;
    alone.push_back(run.out);
  }
  std::vector<std::future<json>> answers;
  for (int i = 0; i < 12; ++i) {
    answers.push_back(std::async(std::launch::async, [&server, i] {
      return server.complete({{"prompt", prompt(i % 3, 60 + 30 * (i % 3))},
                              {"max_tokens", 12},
                              {"ignore_eos", true},
                              {"logprobs", 0}});
    }));
  }
  const auto words = json::parse(read_text(kTiny + "/tokenizer.json"))["model"]["vocab"];
  for (int i = 0; i < 12; ++i) {
    const json answer = answers[size_t(i)].get();
    std::vector<int> ids;
    for (const json& token : answer["choices"][0]["logprobs"]["tokens"]) {
      ids.push_back(words.at(token.get<std::string>()));
    }
    EXPECT_EQ(json(ids).dump() + "\n", alone[size_t(i % 3)]);
    EXPECT_EQ(answer["usage"]["completion_tokens"], 12);
    EXPECT_EQ(answer["choices"][0]["finish_reason"], "length");
    EXPECT_NEAR(answer["elastron"]["msr"].get<double>(), 0.75, 0.1);
    EXPECT_LT(answer["elastron"]["cache_bytes"], answer["elastron"]["full_cache_bytes"]);
  }
  server.expect_all_pages_free();
}

TEST(Serve, TheSameOnRanks) {
  const json body = {{"prompt", {kPrompt, prompt(1, 100), prompt(2, 50), prompt(3, 301)}},
                     {"max_tokens", 8},
                     {"ignore_eos", true},
                     {"echo", true},
                     {"logprobs", 2},
                     {"elastron", {{"gates", true}}}};
  const Server one(kRouting), tensor(kRouting, 2), data(kRouting + "--tensor 1", 2);
  // Of the last prompt each of the context ranks reads a part; data ranks take requests of their own.
  const Server context(kRouting + "--context 2 --cache-gb 0.01", 2);
  const Server both(kRouting + "--context 2 --tensor 1", 4);
  const json golden = one.complete(body);
  for (const Server* server : {&tensor, &data, &context, &both}) {
    const json other = server->complete(body);
    for (size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(text_of(other, i), text_of(golden, i));
      EXPECT_EQ(other["choices"][i]["elastron"], golden["choices"][i]["elastron"]);
      const json& scores = golden["choices"][i]["logprobs"]["token_logprobs"];
      const json& again = other["choices"][i]["logprobs"]["token_logprobs"];
      ASSERT_EQ(again.size(), scores.size());
      for (size_t t = 1; t < scores.size(); ++t) {
        EXPECT_NEAR(again[t].get<double>(), scores[t].get<double>(), 1e-4) << t;
      }
    }
    server->expect_all_pages_free();
  }
}

// On ranks too: each has the prefix's keys of its heads.
TEST(Serve, APrefixIsReadOnce) {
  const json before = prompt(1, 120);
  const auto ask = [&](const Server& server, int rest) {
    return server.complete({{"prompt", prompt(rest, 40)},
                            {"max_tokens", 8},
                            {"ignore_eos", true},
                            {"elastron", {{"prefix", before}, {"gates", true}}}});
  };
  const Server keeps(kRouting), forgets(kRouting + "--prefixes 0");
  const Server ranks(kRouting + "--tensor 2 --context 2 --cache-gb 0.01", 4);
  for (const int rest : {5, 6, 5}) {
    const json want = ask(forgets, rest);
    EXPECT_EQ(want["usage"]["prompt_tokens"], 160);
    EXPECT_EQ(want["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
    const int64_t kept =
        keeps.metric("elastron_kept_prompt_tokens_total") > 0 || rest == 6 ? 120 : 0;
    for (const Server* server : {&keeps, &ranks}) {
      const json answer = ask(*server, rest);
      EXPECT_EQ(text_of(answer), text_of(want));
      EXPECT_EQ(answer["choices"][0]["elastron"], want["choices"][0]["elastron"]);
      EXPECT_EQ(answer["usage"]["prompt_tokens_details"]["cached_tokens"], kept);
    }
  }
  EXPECT_EQ(keeps.metric("elastron_prompt_tokens_total"), 120 + 3 * 40);
  EXPECT_EQ(keeps.metric("elastron_kept_prompt_tokens_total"), 2 * 120);
  forgets.expect_all_pages_free();
}

TEST(Serve, StreamsComeToWhatAWholeAnswerIs) {
  const Server server;
  json body = {{"prompt", kPrompt}, {"max_tokens", 6},  {"n", 2},
               {"seed", 5},         {"temperature", 1}, {"ignore_eos", true}};
  const json whole = server.complete(body);
  EXPECT_EQ(server.complete(body)["choices"], whole["choices"]);  // the seed is all there is
  EXPECT_NE(text_of(whole, 0), text_of(whole, 1));
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const Streamed s = streamed(server, "/v1/completions", body);
  ASSERT_TRUE(s.done);
  std::vector<std::string> texts(2);
  for (const json& chunk : s.chunks) {
    for (const json& c : chunk["choices"]) {
      texts[c["index"].get<size_t>()] += c["text"].get<std::string>();
    }
  }
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(texts[i], text_of(whole, i));
  EXPECT_EQ(s.chunks.back()["usage"], whole["usage"]);
}

// Scores of a given continuation: the same tokens' when they were generated.
TEST(Serve, EchoScoresWhatIsGiven) {
  const Server server(kRouting);
  const json made = server.complete(
      {{"prompt", kPrompt}, {"max_tokens", 5}, {"logprobs", 1}, {"ignore_eos", true}});
  const auto words = json::parse(read_text(kTiny + "/tokenizer.json"))["model"]["vocab"];
  std::vector<int> all = kPrompt;
  for (const json& t : made["choices"][0]["logprobs"]["tokens"]) {
    all.push_back(words.at(t.get<std::string>()));
  }
  const json scored =
      server.complete({{"prompt", all}, {"max_tokens", 0}, {"logprobs", 1}, {"echo", true}});
  const json& l = scored["choices"][0]["logprobs"];
  ASSERT_EQ(l["token_logprobs"].size(), all.size());
  EXPECT_TRUE(l["token_logprobs"][0].is_null());
  EXPECT_EQ(scored["usage"]["completion_tokens"], 0);
  const double first = l["token_logprobs"][kPrompt.size()];
  EXPECT_NEAR(first, made["choices"][0]["logprobs"]["token_logprobs"][0].get<double>(), 1e-4);
}

TEST(Serve, BadRequestsAreErrorsOfTheInterface) {
  const Server server("--queue 2 --body-mb 1 --max-length 200");
  const auto message = [](const json& answer) {
    EXPECT_TRUE(answer.at("error").contains("type"));
    return answer.at("error").at("message").get<std::string>();
  };
  EXPECT_NE(message(server.complete({{"prompt", "find"}, {"n", 1000000}}, 400)).find("'n'"),
            std::string::npos);
  EXPECT_NE(message(server.complete({{"prompt", "find"}, {"colour", 1}}, 400)).find("colour"),
            std::string::npos);
  EXPECT_EQ(server.complete({{"prompt", prompt(0, 201)}}, 400)["error"]["code"],
            "context_length_exceeded");
  EXPECT_EQ(server.complete({{"prompt", "find"}, {"model", "x"}}, 404)["error"]["code"],
            "model_not_found");
  EXPECT_EQ(server.complete({{"prompt", {{1}, {2}, {3}}}}, 429)["error"]["code"], "queue_full");
  server.post("/v1/chat/completions", {{"messages", {{{"role", "user"}, {"content", "find"}}}}},
              400);
  server.post("/v1/embeddings", {}, 404);
  auto c = server.client();
  for (const std::string& body :
       {std::string("{"), std::string("\xff\xfe"), std::string("{\"prompt\": \"\xff\"}"),
        std::string(100, '['), std::string()}) {
    const auto answer = c.Post("/v1/completions", body, "application/json");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 400);
    EXPECT_TRUE(json::parse(answer->body).contains("error"));
  }
  const auto large = c.Post("/v1/completions", std::string(20 << 20, ' '), "application/json");
  ASSERT_TRUE(large);
  EXPECT_EQ(large->status, 413);
  const auto models = c.Get("/v1/models");
  ASSERT_TRUE(models);
  EXPECT_EQ(json::parse(models->body)["data"][0]["id"], "tiny");
  const json made = server.complete({{"prompt", "find"}, {"max_tokens", 1}, {"ignore_eos", true}});
  EXPECT_EQ(made["usage"]["completion_tokens"], 1);
}

// vLLM's plain interface: POST gives the prompt too, PUT, which RULER's client sends, what follows.
int connected(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(uint16_t(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return fd;
}

// Nobody waits for what is not announced.
TEST(Serve, BodiesOfNoLengthAreRefusedAtOnce) {
  const Server server(kRouting + "--receive-seconds 60");
  const std::string head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\n";
  for (const std::string& length : {std::string(), std::string("Content-Length: -5\r\n"),
                                    std::string("Content-Length: 99999999999999999999999\r\n"),
                                    std::string("Content-Length: 5x\r\n")}) {
    const int s = connected(server.port());
    const std::string all = head + length + "\r\n";
    ASSERT_EQ(write(s, all.data(), all.size()), ssize_t(all.size()));
    char answer[64] = {};
    pollfd wait{.fd = s, .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&wait, 1, 20000), 1) << length;
    EXPECT_GT(read(s, answer, sizeof answer - 1), 0);
    EXPECT_TRUE(std::string(answer).starts_with("HTTP/1.1 400")) << length << answer;
    close(s);
  }
  EXPECT_EQ(server.complete({{"prompt", {1, 2}}, {"max_tokens", 2}})["usage"]["prompt_tokens"], 2);
}

TEST(Serve, GeneratesAsPlainServersDo) {
  const Server server("--api-key secret --max-length 200");
  auto c = server.client();
  const auto ask = [&](const json& body, int status) {
    const auto put = c.Put("/generate", body.dump(), "application/json");
    EXPECT_TRUE(put);
    EXPECT_EQ(put->status, status) << put->body;
    return json::parse(put->body);
  };
  json body = {{"prompt", "n1 n2"}, {"max_tokens", 5},       {"temperature", 0.0},
               {"top_k", 32},       {"stop", json::array()}, {"ignore_eos", true}};
  ask(body, 401);
  c.set_bearer_token_auth("secret");
  const json alone = ask(body, 200);
  const auto both = c.Post("/generate", body.dump(), "application/json");
  const auto completed = c.Post("/v1/completions", body.dump(), "application/json");
  ASSERT_TRUE(both && completed);
  const std::string text = text_of(json::parse(completed->body));
  EXPECT_FALSE(text.empty());
  EXPECT_EQ(alone["text"], json({text}));
  EXPECT_EQ(json::parse(both->body)["text"], json({"n1 n2" + text}));
  EXPECT_EQ(alone["elastron"], json::parse(completed->body)["elastron"]);
  body["max_tokens"] = 500;
  EXPECT_EQ(ask(body, 400)["error"]["code"], "context_length_exceeded");
  EXPECT_FALSE(ask(body, 400).contains("text"));
  const auto got = c.Get("/generate");
  ASSERT_TRUE(got);
  EXPECT_EQ(got->status, 404);
}

// A text that may become four million tokens, of which no machine of the limit has room.
TEST(Serve, ARequestWithoutMemoryIsRefusedAndOthersGoOn) {
  const Server server("--max-length 4194304 --set model.beyond_positions=allow", 0,
                      "ulimit -v 6000000; ");
  const json small = {{"prompt", kPrompt}, {"max_tokens", 300}, {"ignore_eos", true}};
  auto other = std::async(std::launch::async, [&] { return server.complete(small); });
  json large = small;
  large["max_tokens"] = 4194304 - kPrompt.size();
  EXPECT_EQ(server.complete(large, 503)["error"]["code"], "out_of_memory");
  large["stream"] = true;
  const Streamed s = streamed(server, "/v1/completions", large);
  EXPECT_TRUE(s.done);
  EXPECT_EQ(s.chunks.at(0)["error"]["code"], "out_of_memory");
  EXPECT_EQ(other.get()["usage"]["completion_tokens"], 300);
  EXPECT_EQ(server.complete(small)["usage"]["completion_tokens"], 300);
  server.expect_all_pages_free();
}

TEST(Serve, ACacheThatHoldsNothingIsSaidInOneLine) {
  for (const int ranks : {0, 2}) {
    for (const char* gb : {"0.00009", "1e-12"}) {
      expect_error(elastron(ranks, "serve --port 0 --model " + kTiny + " --cache-gb " + gb), 2,
                   {"a text of 2 tokens may need", "--cache-gb", "at least that much"});
    }
  }
}

TEST(Serve, AKeyIsAskedFor) {
  const Server server("--api-key secret");
  auto c = server.client();
  const std::string body = R"({"prompt": "find", "max_tokens": 1})";
  EXPECT_EQ(c.Post("/v1/completions", body, "application/json")->status, 401);
  EXPECT_EQ(c.Get("/v1/models")->status, 401);
  EXPECT_EQ(c.Get("/health")->status, 200);
  c.set_bearer_token_auth("secret");
  EXPECT_EQ(c.Post("/v1/completions", body, "application/json")->status, 200);
  EXPECT_EQ(c.Get("/v1/models")->status, 200);
}

// Long texts whose clients are gone give their pages back; so does a stream that nobody reads.
TEST(Serve, AClientThatGoesAwayFreesItsPages) {
  const Server server("--slots 2");
  for (const bool stream : {false, true}) {
    const std::string body =
        json({{"prompt", kPrompt}, {"max_tokens", 4000}, {"ignore_eos", true}, {"stream", stream}})
            .dump();
    std::vector<int> sockets;
    for (int i = 0; i < 4; ++i) {
      const int fd = connected(server.port());
      const std::string request =
          "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
          "Content-Length: " +
          std::to_string(body.size()) + "\r\n\r\n" + body;
      ASSERT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), ssize_t(request.size()));
      sockets.push_back(fd);
    }
    for (int i = 0; i < 200 && !(server.metric("elastron_requests_running") >= 2); ++i) {
      std::this_thread::sleep_for(50ms);
    }
    EXPECT_GT(server.metric("elastron_cache_pages_used"), 0);
    for (const int fd : sockets) close(fd);
    server.expect_all_pages_free();
  }
  EXPECT_EQ(server.metric("elastron_requests_cancelled_total"), 8);
}

// Clients that send a byte now and then: others are served, and these are ended.
TEST(Serve, SlowClientsAreEnded) {
  const Server server("--receive-seconds 2 --connections 8");
  std::vector<int> slow;
  for (int i = 0; i < 4; ++i) {
    slow.push_back(connected(server.port()));
    const std::string part = i % 2 == 0 ? "POST /v1/comp"
                                        : "POST /v1/completions HTTP/1.1\r\nHost: x\r\n"
                                          "Content-Length: 1000\r\n\r\n{";
    send(slow.back(), part.data(), part.size(), MSG_NOSIGNAL);
  }
  server.complete({{"prompt", "find"}, {"max_tokens", 2}});
  for (const int fd : slow) {
    bool ended = false;
    for (int i = 0; i < 60 && !ended; ++i) {
      ended = send(fd, " ", 1, MSG_NOSIGNAL) < 0;
      if (!ended) std::this_thread::sleep_for(500ms);
    }
    EXPECT_TRUE(ended);
    close(fd);
  }
  server.complete({{"prompt", "find"}, {"max_tokens", 2}});
}

TEST(Serve, TermEndsWhatRunsInOrder) {
  for (const int ranks : {0, 2}) {
    Server server("", ranks);
    auto answer = std::async(std::launch::async, [&] {
      return server.complete({{"prompt", kPrompt}, {"max_tokens", 300}, {"ignore_eos", true}});
    });
    for (int i = 0; i < 200 && !(server.metric("elastron_requests_running") >= 1); ++i) {
      std::this_thread::sleep_for(20ms);
    }
    server.signal(SIGTERM);
    EXPECT_EQ(answer.get()["usage"]["completion_tokens"], 300);
    EXPECT_EQ(server.wait(), 0) << server.err();
  }
}

TEST(Serve, APortThatIsTakenIsSaidInOneLine) {
  const Server server;
  expect_error(elastron(0, "serve --model " + kTiny + " --port " + std::to_string(server.port())),
               2, {"cannot listen on 127.0.0.1:" + std::to_string(server.port()), "--port"});
}

}  // namespace
}  // namespace elastron::test
