// tokenizer.json: what parses encodes any text, and decodes what it encoded.
#include "data/tokenizer.h"
#include "tests/fuzz/input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace elastron;
  constexpr std::string_view kText =
      "The year 1984, isn't it?  <s>token</s>\n\ta_b \xC3\xA9\xCC\x81 \xE4\xBD\xA0\xE5\xA5\xBD "
      "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB<|im_start|>user\r\n";
  fuzz::expect_read_or_refused([&] {
    const auto tokenizer =
        data::parse_tokenizer({reinterpret_cast<const char*>(data), size}, "input");
    const auto ids = tokenizer->encode(kText);
    for (const int32_t id : ids) fuzz::require(id >= 0 && id < tokenizer->vocab_size());
    tokenizer->decode(ids);
  });
  return 0;
}
