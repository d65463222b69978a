// Conversations as transformers renders them (tests/oracle/make_chat_fixtures.py), and which
// templates are recognised.
#include "data/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/data/support.h"

namespace elastron::data {
namespace {

using nlohmann::json;

std::string fixture(const std::string& family) {
  return std::string(ELASTRON_TEST_FIXTURES) + "/chat/" + family;
}

std::string template_of(const std::string& family) {
  std::ostringstream text;
  text << std::ifstream(fixture(family) + "/chat_template.jinja").rdbuf();
  return text.str();
}

const std::pair<const char*, ChatTemplateSetting> kFamilies[] = {
    {"qwen3", ChatTemplateSetting::qwen3}, {"llama3", ChatTemplateSetting::llama3}};

TEST(ChatTemplate, RendersAsTheReference) {
  for (const auto& [family, kind] : kFamilies) {
    const auto chat = ChatTemplate::open(fixture(family), ChatTemplateSetting::automatic);
    ASSERT_EQ(chat.kind(), kind);
    std::ifstream file(fixture(family) + "/cases.jsonl");
    int cases = 0;
    for (std::string line; std::getline(file, line); ++cases) {
      const json c = json::parse(line);
      std::vector<ChatMessage> messages;
      for (const json& m : c["messages"]) messages.push_back({m[0], m[1]});
      EXPECT_EQ(chat.render(messages, c["generation_prompt"]), c["text"]) << line;
    }
    EXPECT_GT(cases, 300);
  }
}

TEST(ChatTemplate, IsFoundInTheFolder) {
  using enum ChatTemplateSetting;
  const test::TemporaryFolder folder;
  const auto kind = [&] { return ChatTemplate::open(folder.path(), automatic).kind(); };
  EXPECT_EQ(kind(), none);
  folder.write("tokenizer_config.json", "{}");
  EXPECT_EQ(kind(), none);
  folder.write("tokenizer_config.json", json{{"chat_template", template_of("llama3")}}.dump());
  EXPECT_EQ(kind(), llama3);
  const json named = {{{"name", "tool_use"}, {"template", "x"}},
                      {{"name", "default"}, {"template", template_of("qwen3")}}};
  folder.write("tokenizer_config.json", json{{"chat_template", named}}.dump());
  EXPECT_EQ(kind(), qwen3);
  folder.write("chat_template.jinja", template_of("llama3"));  // wins
  EXPECT_EQ(kind(), llama3);
  for (const ChatTemplateSetting setting : {qwen3, llama3, none}) {
    EXPECT_EQ(ChatTemplate::open(folder.path(), setting).kind(), setting);
  }
}

// Relatives that render differently must not be taken for one of the two.
TEST(ChatTemplate, RefusesWhatItDoesNotKnow) {
  const test::TemporaryFolder folder;
  const auto error = [&] {
    return test::error_of<InputError>(
        [&] { ChatTemplate::open(folder.path(), ChatTemplateSetting::automatic); });
  };
  const auto without = [](std::string text, const std::string& part) {
    const size_t at = text.find(part);
    EXPECT_NE(at, text.npos) << part;
    return at == text.npos ? text : text.erase(at, part.size());
  };
  const std::string qwen3 = template_of("qwen3"), llama3 = template_of("llama3");
  for (const std::string& text :
       {std::string("{{ messages }}"), std::string(), qwen3 + "<|vision_start|>",
        without(qwen3, "enable_thinking is false"), llama3 + "{{ strftime_now('%d') }}",
        without(llama3, "Cutting Knowledge Date: December 2023")}) {
    folder.write("chat_template.jinja", text);
    EXPECT_EQ(error(),
              "the chat template is neither Qwen3's nor Llama-3.1's (" + folder.path() +
                  "/chat_template.jinja): set data.chat_template to qwen3, llama3 or none");
  }
  folder.write("chat_template.jinja", std::string(2 << 20, 'x'));
  EXPECT_NE(error().find("at most 1048576 are accepted"), std::string::npos) << error();
  std::filesystem::remove(folder.path() + "/chat_template.jinja");
  for (const char* config : {"[", "[]", R"({"chat_template": 3})", R"({"chat_template": []})",
                             R"({"chat_template": [{"name": "default", "template": 3}]})"}) {
    folder.write("tokenizer_config.json", config);
    EXPECT_NE(error().find("tokenizer_config.json"), std::string::npos) << config;
  }
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  for (const auto& [family, kind] : kFamilies) {
    const auto chat = ChatTemplate::open("", kind);
    const auto error = [&](const std::vector<ChatMessage>& messages) {
      return test::error_of<InputError>([&] { chat.render(messages, true); });
    };
    EXPECT_NE(error({}).find("a conversation without messages"), std::string::npos);
    EXPECT_NE(error({{"tool", "x"}}).find("role 'tool'"), std::string::npos);
    EXPECT_NE(error({{"user", "x"}, {"User\n", "x"}}).find("role 'User?'"), std::string::npos)
        << error({{"user", "x"}, {"User\n", "x"}});
    EXPECT_NE(chat.render(std::vector<ChatMessage>{{"user", "\xff \x80\xe2"}}, true), "");
  }
}

}  // namespace
}  // namespace elastron::data
