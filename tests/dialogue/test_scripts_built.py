"""Test builds in several scripts, and in romanised text: plausible text passes, and another language is refused."""
# ruff: noqa: RUF001

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from consistent_chat.dialogue.checks import language
from consistent_chat.recipe.rules import thresholds
from consistent_chat.reports.check import chat_findings
from tests.provider import Call, Provider, Reply

TALKS = {
    "Thai": [
        (
            "สวัสดีครับ ผมอยากไปเที่ยวเชียงใหม่ช่วงปลายปี งบประมาณราว 15,000.50 บาท ควรเริ่มวางแผนยังไงดี",
            "ช่วงปลายปีอากาศที่เชียงใหม่กำลังเย็นสบาย แนะนำให้จองตั๋วเครื่องบินล่วงหน้าอย่างน้อย "
            "2 เดือน เพราะราคาจะถูกกว่าประมาณ 1.5 เท่า และเลือกที่พักแถวเมืองเก่าเพื่อเดินทางสะดวก",
        ),
        (
            "แล้วควรพักกี่คืนดีครับ ถ้าอยากขึ้นดอยด้วย",
            "ถ้าจะขึ้นดอยอินทนนท์ด้วย ควรพักสัก 4 คืน แบ่งเป็นในเมือง 3 คืนและบนดอย 1 คืน จะได้ไม่เหนื่อยเกิน"
            "ไป ระยะทางจากเมืองประมาณ 2.5 ชั่วโมง",
        ),
        (
            "ขอร้านอาหารพื้นเมืองที่คนท้องถิ่นชอบไปหน่อย",
            "ลองไปร้านข้าวซอยแถวฟ้าฮ่าม ราคาไม่แพงและอร่อยมาก อีกร้านหนึ่งคือร้านอาหารเหนือย่านนิมมาน "
            "มีน้ำพริกหนุ่ม แคบหมู และไส้อั่วให้เลือกหลายแบบ",
        ),
    ],
    "Japanese": [
        (
            "来月、初めて京都に行きます。二泊三日でどこを回ればいいですか",
            "初めてでしたら、一日目は清水寺から祇園まで歩き、二日目は嵐山、三日目は伏見稲荷という順番がおすすめです。移動は市バスの一日券が便利です。",
        ),
        (
            "嵐山は朝と午後、どちらがいいでしょうか",
            "竹林は朝八時前がいちばん静かです。午後は観光客が増えるので、朝のうちに竹林と天龍寺を見て、昼食のあとに渡月橋をゆっくり歩くとよいでしょう。",
        ),
        (
            "予算はどのくらい見ておけばいいですか",
            "食事と交通費で一日あたり八千円ほどを見ておけば十分です。拝観料は一か所につき四百円から六百円くらいかかります。",
        ),
    ],
    "Hindi": [
        (
            "मुझे अपने छोटे बगीचे में टमाटर उगाने हैं, कब बोना सही रहेगा?",
            "टमाटर के बीज फरवरी के अंत में गमले में बोना सबसे अच्छा रहता है। जब पौधे 15 सेंटीमीटर "
            "के हो जाएँ, तब उन्हें धूप वाली जगह पर लगा दीजिए।",
        ),
        (
            "पानी कितनी बार देना चाहिए?",
            "गर्मी में हर दूसरे दिन सुबह पानी दीजिए और पत्तों को गीला मत कीजिए। मिट्टी ऊपर से सूखी "
            "लगे तभी पानी दें, नहीं तो जड़ें सड़ सकती हैं।",
        ),
        (
            "पत्ते पीले पड़ रहे हैं, क्या करूँ?",
            "नीचे के पत्ते पीले हों तो अक्सर नाइट्रोजन की कमी होती है। थोड़ी गोबर की खाद डालिए और "
            "देखिए कि पानी ज़्यादा तो नहीं हो रहा।",
        ),
    ],
    "Hindi (romanised)": [
        (
            "Mujhe apne ghar ki chhat par sabzi ugani hai, kahan se shuru karun?",
            "Sabse pehle aap do ya teen bade gamle le lijiye aur unmein achhi mitti bhar dijiye. "
            "Tamatar aur mirchi shuru karne ke liye sabse aasan hain, kyunki unhein zyada dekhbhal "
            "nahi chahiye.",
        ),
        (
            "Kitni dhoop chahiye hoti hai unko roz?",
            "Kam se kam chhah ghante ki seedhi dhoop zaroori hai. Agar aapki chhat par dopahar mein "
            "bahut garmi hoti hai to halki jaali laga dijiye taaki patte na jalein.",
        ),
        (
            "Aur keede lag jayein to kya karna chahiye?",
            "Neem ka tel paani mein mila kar har hafte chhidak dijiye. Isse zyada tar keede bhaag "
            "jaate hain aur sabzi bhi khaane ke liye surakshit rehti hai.",
        ),
    ],
    "Burmese": [
        (
            "ကျွန်တော် ရန်ကုန်ကနေ ပုဂံကို ဘတ်စ်ကားနဲ့ သွားချင်ပါတယ်၊ ဘယ်လောက်ကြာမလဲ",
            "ရန်ကုန်ကနေ ပုဂံကို ညဘက်ဘတ်စ်ကားနဲ့ ၉.၅ နာရီခန့် ကြာပါတယ်။ ညနေ ၈ နာရီမှာ ထွက်ပြီး မနက်စောစော ရောက်ပါတယ်",
        ),
        (
            "လက်မှတ်ကို ကြိုတင်ဝယ်ဖို့ လိုသလား",
            "ခရီးသွားရာသီမှာဆိုရင် အနည်းဆုံး တစ်ပတ်ကြိုတင် ဝယ်ထားသင့်ပါတယ်။ ဈေးနှုန်းက ကျပ် ၂၅,၀၀၀ လောက် ရှိပါတယ်",
        ),
        (
            "ပုဂံမှာ ဘယ်နှစ်ရက်နေရင် ကောင်းမလဲ",
            "ဘုရားတွေကို အေးအေးဆေးဆေး ကြည့်ချင်ရင် သုံးရက်လောက် နေသင့်ပါတယ်။ မနက်ခင်း နေထွက်ချိန်ကို မလွတ်တမ်း ကြည့်ပါ",
        ),
    ],
}
"""Three questions and answers in each language, by its name. Numbers have points, few sentences have full stops."""
ENGLISH = [
    (
        "I would like to visit a small town near the mountains this summer, where should I start?",
        "You could start with the villages around the lake, because the trains run every hour "
        "and the paths are well marked.",
    ),
    (
        "How many days would you stay there with two children?",
        "Four days are enough for the lake and one longer walk, and the children will like the boat on the second day.",
    ),
    (
        "What should we bring along for the evenings?",
        "Bring warm jackets and a torch, since the nights are cool even in August and the streets are dark.",
    ),
]


def said(talk: list[tuple[str, str]], call: Call) -> Reply:
    """Answer with the messages of a conversation."""
    texts = {name: talk[int(name.split("_")[1]) - 1][name.startswith("assistant")] for name in call.names}
    return Reply.text(json.dumps(texts, ensure_ascii=False))


@pytest.mark.slow_after(2)
@pytest.mark.parametrize("name", TALKS)
def test_a_build_passes_and_refuses_another_language(name: str, folder: Path) -> None:
    """An English first draw of each stage is refused; the second draw, in the right language, is used unchanged."""

    def script(call: Call) -> Reply:
        stage_calls = sum(each.stage == call.stage for each in provider.requests)
        return said(ENGLISH if stage_calls <= 1 else TALKS[name], call)

    with Provider(script) as provider:
        given: dict[str, Any] = {"serving": "anthropic", "base_url": provider.url, "api_key": "k", "model": "m"}
        given |= {"num_dialogs_per_intent": 1, "num_turns_per_dialog": 3, "intents": ["simulation"]}
        made = load_dataset("consistent_chat", split="train", language=name, responses="responses", **given)
        assert [call.stage for call in provider.requests] == ["skeleton", "skeleton", "answers", "answers"]
    assert [message["value"] for message in made[0]["conversation"]] == [text for turn in TALKS[name] for text in turn]


IS_OLD = int(version("py3langid").split(".")[1]) < 4 and version("py3langid").startswith("0.")
"""The detector's earlier models take Burmese for Georgian where no language is named, and are less sure of others."""


@pytest.mark.parametrize("name", TALKS)
def test_a_check_without_a_language_finds_nothing(name: str) -> None:
    """Without a language, the check recognises the language of each text and reports nothing.

    Romanised text is not recognised as any language.
    """
    if IS_OLD and name == "Burmese":
        pytest.skip("an earlier model of the detector")
    talk = [text for turn in TALKS[name] for text in turn]
    assert language.spoken(talk) == ("" if "romanised" in name else name)
    chat = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(talk)]
    assert chat_findings({"messages": chat}, thresholds("checks", None)) == []


@pytest.mark.skipif(IS_OLD, reason="an earlier model of the detector")
def test_a_language_that_is_not_sure_is_not_named() -> None:
    """Romanised Hindi is reported as another language instead of English, without a name for that language."""
    talk = [text for turn in TALKS["Hindi (romanised)"] for text in turn]
    chat = [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(talk)]
    found = chat_findings({"messages": chat}, thresholds("checks", None), "English")
    assert {each.detail.split(" in ")[1] for each in found} == {"another language instead of English"}
