"""Is an answer none: a refusal, "I don't see an image", a server's error in words, a mock's greeting, a placeholder.

Both mistakes cost: a refusal that passes becomes a sentence that every picture is compared with, and a caption that is
taken for one is a picture less. So a phrase counts where it begins an answer and no caption begins so; what may stand
anywhere is only what a caption does not say.
"""

import re

_QUOTES = str.maketrans({"‘": "'", "’": "'", "‚": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"'})


def _any(*patterns: str) -> str:
    return f"(?:{'|'.join(patterns)})"


_IMG = (
    r"(?:images?|pictures?|photos?|photographs?|pics?|attachments?|screenshots?|visuals?"
    r"|visual (?:content|input))(?![-\w])"
)
_CANNOT = _any(
    r"can'?t|cannot|can ?not|could(?:n'?t| not)|won'?t|will not|wouldn'?t|don'?t|do not|didn'?t|did not|haven'?t"
    r"|have not",
    r"shouldn'?t|should not|must decline|have to decline|decline|refuse|lack|never received|wasn'?t able|was (?:un"
    r"|not )able",
    r"am (?:un|not )able|'?m (?:un|not )able|am not(?! a robot)|'m not(?! a robot)|(?:'d |would )rather not|prefer not",
)
_GIVEN = (
    r"(?:provided|attached|uploaded|included|shared|sent|supplied|received|given|submitted|posted|specified|selected"
    r"|available|accessible|detected|found|loaded|present|embedded|here|(?:visible|displayed) to me)\b"
)
_HERE = (
    r"(?:in|with|to|within) (?:your|the|this|our) (?:\w+ )?"
    r"(?:message|conversation|chat|prompt|input|request|context|query|question)\b"
)
_TO_SEE = r"(?:to|for me to|that i can) (?:describe|see|view|analy[sz]e|look at|work with|process|refer to|caption)\b"
_NO_IMG = (
    rf"(?:no|not an?|n't an?|n't any|not any) (?:\w+ )?{_IMG}"
    rf"(?= (?:(?:was|were|is|are|has been|have been|been|seems to be) )?{_GIVEN}| {_HERE}| {_TO_SEE}| data| input"
    r"|[.,;:!]|$)"
)
_FAILS = _any(
    r"(?:(?:is|was|were|has|have|does|did|could|can|would|will)(?: not|n'?t| never)|cannot|can't|failed|fails"
    r"|seems? not"
    r"|appears? not|seems? to have (?:failed|not)|appears? to have (?:failed|not)|may not have|might not have)"
    r"(?: (?:be|been|to|currently|yet|actually|properly|successfully|correctly))*"
    rf" (?:{_GIVEN}|visible|shown|showing|displayed|displaying|load|loading|upload|uploading|attach|come through"
    r"|go through"
    r"|render|rendering|seen|viewed|opened|processed|decoded|read|accessed|described|identified|supported|transmitted"
    r"|reach|arrive|exist)\b",
    r"(?:is|was) (?:blank|empty|corrupt(?:ed)?|broken) or (?:did|was|is|could|has)\b",
    r"(?:is|was|seems? to be|appears? to be|(?:may|might) be) (?:currently )?(?:missing|unavailable|inaccessible)"
    rf"(?:[.,;!]|$| from (?:your|the) | {_HERE})",
)
_MODEL = _any(
    r"(?:(?:large|small|text-based|text-only|text based|text only|purely|virtual|helpful|digital|advanced) )*"
    r"(?:ai\b(?! robot)|a\.i\.|artificial intelligence|llm|(?:large )?language model|text model|chat ?bot)",
    r"(?:ai|virtual|digital|helpful|responsible|language|visual|chat|text-based|text-only) assistant",
    r"text[- ](?:based|only)",
)
_GIVE = r"(?:provide|upload|share|attach|send|re-?upload|re-?attach|resend|paste|include|supply|submit|insert)"
_IT = (
    r"(?:(?:me|us|me with) )?(?:an?|the|your|it|that|this|one|more|another|some|additional|further|any|again|valid"
    rf"|{_IMG})\b"
)

# what may stand in front of a refusal: an interjection, a courtesy, or a conjunction
_LEAD = re.compile(
    r"^(?:(?:oh|oops|uh[- ]oh|hmm+|hm|well|ok|okay|sure|certainly|of course|absolutely|yes|no|hello|hi|hey|thanks?"
    r"|thank you(?: (?:for|so much)[^.!,\n]{0,60})?|great question|good question|note|warning|answer|response|actually"
    r"|i (?:understand|see|notice|apologi[sz]e|appreciate (?:it|that))|my apologies|apologies|so sorry"
    r"|(?:happy|glad|here) to help|no problem|(?:i|we|that|it)(?: (?:understand|appreciate|notice|see|know|realize"
    r"|want|would love|sounds?|is|get)|'[a-z]{1,2})\b[^.!?\n]{0,80}(?=[,;] ?(?:but|however|though|unfortunately)\b)"
    r"|good (?:morning|day|afternoon|evening))"
    r"(?: there)?\s?[,.!:;-]+\s*|(?:but|however|although|though|and|so|well|because|since)\b,?\s+)+",
    re.IGNORECASE,
)

_DECLINES = _any(
    r"(?!sorry,? we(?:'re| are) (?:closed|open))(?:(?:i'?m|i am|we'?re|we are) )?(?:\w+ )?(?:sorry|afraid)\b"
    r"(?=[,.;:]|! ?(?:i\b|we\b|but|no\b|$)| (?:but|that|i|we|for (?:the|any|this)|about (?:the|that|this)"
    r"|to (?:say|hear|inform|disappoint))\b|$)",
    r"(?:i|we) apologi[sz]e\b|(?:my |our )?(?:sincere )?apologies(?=[,.!;:]| (?:for|but|i)\b|$)"
    r"|(?:please )?(?:forgive|excuse) me\b",
    rf"(?:as|being) (?:an? )?{_MODEL}|(?:i'?m|i am) (?:only |just |actually |currently )?an? {_MODEL}",
    r"this is an? (?:purely )?(?:text[- ](?:based|only)|(?:large )?language) (?:\w+ )?(?:model|assistant|ai)\b",
    r"(?:i'?m|i am) (?:chatgpt|gpt|claude|gemini|qwen|deepseek|llama|mistral)\b",
    r"(?:i'?m|i am) (?:currently |still )?(?:having (?:trouble|difficulty|problems|issues)|designed to|only able|unable"
    r"|not\b(?! a robot)|here to|ready to|happy to|missing (?:the|an?)|doing (?:well|great))",
    rf"(?:unfortunately|regrettably|sadly),? (?:i|we|it|there|no|you|the {_IMG}|this|my|your)\b",
    rf"(?:i|we) ?(?:(?:currently|actually|really|simply|just|honestly|still|also|personally|respectfully|unfortunately"
    rf"|must(?: respectfully| politely)?|have to) )?{_CANNOT}\b|i(?:'d| would) rather\b"
    r"|(?:let's|let us) (?:talk about|discuss|change|chat about)\b",
    r"(?:i|we) (?:only|can only|currently only) (?:process|understand|handle|work|accept|see|read|support|have)\b",
    rf"(?:i|we) have no (?:way|ability|access|means|capability|{_IMG}|information|eyes|idea)\b",
    r"my (?:capabilities|training|abilities|knowledge|purpose|programming|vision)(?: \w+)? (?:is|are|do|does"
    r"|doesn't|only|as)\b",
    r"(?:it is|it's|it isn't|it would be) (?:not (?:possible|clear|appropriate|allowed|permitted)|impossible"
    r"|inappropriate"
    r"|unclear|(?:hard|difficult) to (?:say|tell|determine|describe))\b",
    r"(?:is |was )?(?:unable|not able) to\b",
    r"(?:can'?t|cannot|can not|could not|couldn'?t|not possible to|impossible to|not allowed to) (?:be )?(?:determined?"
    r"|described?|identify|identified|see|seen|view(?:ed)?|tell|process(?:ed)?|access(?:ed)?|answer(?:ed)?|help|assist"
    r"|provided?|comply|display(?:ed)?|load(?:ed)?|read|recogni[sz]ed?|analy[sz]ed?|generated?|fulfill)\b",
    r"(?:don'?t|do not|did not|didn'?t) (?:see|have|know|understand|receive)\b",
    r"(?:not enough|insufficient) (?:information|context|data|detail)",
)
_NO_PICTURE = _any(
    r"(?:i|we) (?:see|notice|noticed|think|believe|note|understand|know|find|found|have|received|got|only see"
    r"|only have) "
    rf"(?:that )?(?:the {_IMG} {_FAILS}|(?:there(?:'s| is| are| was| isn't) )?(?:an? )?(?:{_NO_IMG}|(?:you"
    r"|your message)"
    r"(?: have not| haven't|'ve not| did not| didn't| does not| doesn't| forgot)\b))",
    r"(?:i|we) (?:see|received|got|have) (?:only|just) (?:the |your |a )?(?:text|words|prompt|message)",
    r"(?:i|we)(?:'d| would) (?:be (?:happy|glad|delighted)|love to (?:help|describe|assist|see)|need|have to see)\b",
    rf"(?:i|we)(?:'ll| will| would| do)? (?:need|require) (?:to (?:see|view)|you to|(?:an?|the) {_IMG}|more (?:info"
    r"|context|detail)|access)",
    r"there(?:'s| is| are| was| were| isn't| aren't| wasn't| seems? to be| appears? to be) (?:currently |actually )?"
    rf"(?:{_NO_IMG}|any {_IMG} (?:{_GIVEN}|{_HERE})|nothing (?:{_TO_SEE}|{_GIVEN}))",
    rf"there (?:does not|doesn't|do not|don't) (?:seem|appear) to be (?:an?|any) (?:\w+ )?{_IMG}",
    r"it (?:does not|doesn't) (?:seem|appear|look)(?: like| that)? (?:there|you|an? (?:image|picture) (?:was|is))\b",
    rf"no (?:\w+ )?{_IMG}(?: (?:data|input|file|content|url))?"
    rf"(?= (?:was|were|has been|have been|is|are)\b| {_GIVEN}| {_HERE}| {_TO_SEE}|[.!]?$)",
    r"no (?:visual|visible|image) (?:content|input|information|data)\b",
    rf"(?:the|your|this|that|an?|any) (?:\w+ )?{_IMG}(?: (?:you(?:'ve| have)? (?:mentioned|sent|uploaded|shared"
    rf"|provided|attached|referred to)|in question|itself|link|url|file|input|content|data))? {_FAILS}",
    rf"{_IMG} (?:inputs? |files? |urls? |data |content )?(?:(?:is|are|was|were|could|can|has|did|does)(?: not|n't)"
    r"|cannot|not"
    rf"|unavailable|missing|failed|unsupported) ?(?:to |be |been )?(?:{_GIVEN}|supported|shown|displayed"
    r"|load(?:ed)?|processed"
    r"|decoded|read|valid|seen|viewed|accessed|described|$)",
    r"(?:it|this|there) (?:looks?|seems?|appears?)(?: like)?(?: that)? (?:there(?:'s| is| are| was| were| might be"
    r"| may be"
    rf"| may have been| might have been| isn't| wasn't) (?:an? |some |any )?(?:{_NO_IMG}|{_IMG}|issue|problem|error"
    r"|mistake)"
    r"|(?:i|we) ?(?:can'?t|cannot|'m unable|am unable|don't|do not|didn't|haven't)\b"
    r"|you(?:'ve| have| did| may have| might have|r message| forgot)? ?(?:not|n't|only|forgot|forgotten|does|did"
    r"|has|is|just)\b"
    rf"|no {_IMG}|the (?:\w+ )?{_IMG}(?: you\S*(?: \w+){{1,2}})? {_FAILS}|nothing (?:was|is|has)\b"
    rf"|an? {_IMG} (?:was|is|has)(?: not|n't))",
    r"you (?:have(?: not|n't)|did(?: not|n't)|forgot|may have forgotten|might have forgotten|(?:need"
    rf"|have) to {_GIVE}|haven'?t"
    rf"|didn'?t|(?:have |'ve )?(?:only|just) (?:provided|sent|given|shared|typed|asked)|mentioned an? {_IMG})\b",
    r"you've (?:not|only|just|forgotten)\b",
    r"your (?:message|prompt|request|question|input|query) (?:does|did|has|contains?|is|was|seems|appears|lacks"
    r"|violates)\b",
    rf"(?:(?:could|can|would|will) you )?(?:please|kindly) (?:{_GIVE} {_IT}|{_GIVE}[.!]?$|show me|tell me|let me know"
    rf"|give (?:me|us) (?:an?|the|more)|describe (?:it|the|what)|specify|clarify|try (?:again|{_GIVE}|with|another)"
    r"|(?:make sure|ensure|check)(?: that| if| whether)? (?:the|your|you)|note that (?:i|there|no|as|this model)"
    r"|ask me)\b",
    rf"(?:could|can|would|will) you (?:please |kindly )?(?:{_GIVE}|describe|show|tell|clarify|specify|try|confirm)\b",
    rf"(?:feel free to|go ahead and) (?:{_GIVE}|ask|describe|let|try|re)|let me know\b",
    rf"(?:once|if|when|as soon as) you(?:'ve| have| can| could| would like to| want to| do)? {_GIVE}",
    rf"(?:if|when|once) you have an? {_IMG}",
    rf"{_GIVE} (?:me )?(?:an?|the|your) (?:\w+ )?{_IMG}",
    r"(?:in order )?to (?:describe|help|provide|assist|answer|give|analy[sz]e|identify|caption|complete|generate"
    r"|do (?:this|that|so))\b[^.]{0,80}, (?:i|you|please|we)\b",
    rf"without (?:seeing|viewing|access\b|being able|having an? {_IMG}|(?:the|an?|any|your) (?:actual )?{_IMG}"
    rf"(?:,| (?:itself|provided|attached|to))|visual|more (?:context|information))",
    rf"(?:based on|from|given) (?:the|your|this) [^.]{{0,60}}, (?:i|we) ?{_CANNOT}",
    r"(?:i'?m|i am) (?:going to|gonna|will) have to (?:pass|decline|skip)\b|assuming (?:the|this|that|your|there)\b",
    r"(?:i|we) (?:can|could) only (?:describe|analy[sz]e|see|view|help|answer|comment)\b",
    r"(?:i|we) (?:was|were)(?: not|n't| never) (?:given|provided|shown|sent)\b|i(?:'?m| am) text[- ]only\b",
    rf"(?:what|which|where(?: is|'s) (?:the|your)) {_IMG}|nothing {_TO_SEE}(?: here)?[.!]?$",
    r"at most \d+ image",
)
_ERRORS = _any(
    r"error\b\s?(?:[:!\])-]|\d{3}\b(?! (?:page|message|sign|screen|on))|code:? \d"
    r"|(?:loading|processing|reading|decoding|fetching|while|in processing|occurred|from|calling)\b)",
    r"(?:\[|\()(?:error|warning|system|inst)\b",
    r"(?:an|some|the following|unknown|unexpected|internal|fatal|server|runtime|connection|network) (?:\w+ )?error"
    r" (?:has )?(?:occurred|happened|was|processing|while|code)",
    r"(?:failed|failure) to (?:load|process|decode|fetch|download|read|open|retrieve|parse|generate|get|connect"
    r"|analy[sz]e"
    r"|recogni[sz]e|identify|describe|upload|display)\b",
    rf"(?:invalid|unsupported|unrecogni[sz]ed|corrupt(?:ed)?|missing|bad|broken) (?:{_IMG}|input|request|file|media"
    r"|content"
    r"|api|base64|prompt|token|argument|parameter)\b(?: (?:format|type|file|data|url|input|key)\b)?(?! \w)",
    r"(?:internal server error|bad gateway|bad request|service (?:temporarily )?unavailable|gateway time-?out"
    r"|timed? ?out"
    r"|unauthori[sz]ed|forbidden|not found|server (?:error|busy|overloaded)|no response|(?:empty"
    r"|null) response)(?=[.:!,;]|$)",
    r"too many requests|rate limit|request (?:timed out|failed|timeout)|something went wrong|traceback \("
    r"|model not found"
    r"|quota exceeded|out of memory|cuda (?:error|out)|server is (?:busy|overloaded|currently)"
    r"|connection (?:refused|reset|timed)|content (?:blocked|filtered|policy|warning)|blocked by (?:the|our|a)\b",
    r"(?:the |this |your )(?:response|request|prompt|content|input|output) "
    r"(?:was|has been|is|may|violates|contains|could|cannot|can't|timed|failed)\b",
    r"(?:40\d|413|422|429|50\d) (?:bad|internal|not|unauthori|forbidden|service|gateway|too|error|payload|unprocess"
    r"|client"
    r"|server|method)",
    r"(?:the |this |your |my )?(?:current |selected )?(?:model|server|endpoint|api|system|llm|assistant) (?:\S+ )?"
    r"(?:does not|doesn't|cannot|can't|is not|isn't|did not|has no|is currently|is)(?: be| currently)? (?:support"
    r"|accept"
    r"|process|handle|allow|exist|respond|found|available|loaded|configured|capable|enabled|overloaded|busy"
    r"|multimodal|vision)",
    r"(?:multi-?modal|image|vision|visual|picture|photo)s? (?:inputs? |support |capabilit\w+ |understanding |processing"
    r" |analysis |models? )?(?:is |are )?(?:not|isn't|aren't) (?:currently |yet )?"
    r"(?:supported|available|enabled|implemented|allowed|possible|configured)\b",
    r"(?:image|picture|photo|multimodal) (?:inputs?|understanding|processing) (?:is|are|has|have|requires?)\b",
    r"image_url\b|data:image/|unsupported content\b",
    r"text[- ](?:only|based) (?:\w+ ){0,2}(?:model|ai|assistant|llm)s?\b",
)
_MOCKS = _any(
    r"how (?:can|may|could) i (?:help|assist|be)\b|what (?:would you like|can i (?:help|do))\b|what do you (?:want"
    r"|need) me\b",
    r"(?:hello|hi|hey|greetings|welcome|howdy)(?: (?:there|again|world|user|friend|human))?"
    r"(?:[!.,]+ (?=.*\b(?:how|what|i'?m|i am|help|assist)\b)|[!.,]*$)",
    r"(?:nice|pleased) to meet you\b|lorem ipsum\b",
    r"this is (?:only |just )?(?:an? |the )?(?:mock(?:ed)?|dummy|fake|placeholder|simulated|canned|stub(?:bed)?"
    r"|hard-?coded) "
    r"(?:\w+ )?(?:response|answer|message|reply|completion|output|text)\b",
    r"this is (?:only |just )?(?:an? |the )?(?:test|sample|default|example|generated) (?:\w+ )?(?:response|answer"
    r"|reply|completion)\b",
    r"(?:mock(?:ed)?|dummy|fake|placeholder|stub(?:bed)?|canned|simulated|sample|default|test|echo) "
    r"(?:(?:llm|ai|chat|api|server|model|assistant) )?(?:response|answer|reply|completion)s?\b",
    r"(?:n/?a|none|null|nothing|unknown|undefined|nil|nan|empty|no (?:answer|labels?|classes|description|caption"
    r"|response"
    r"|content|text|comment|idea|data)|not (?:applicable|sure|available|visible|provided|specified|clear|possible|found"
    r"|supported)|unclear|unidentifiable|unavailable|error|yes|no|ok|okay|true|false|test(?:ing)?|pong|idk|redacted"
    r"|filtered"
    r"|blocked|censored|refused|nothing (?:visible|provided|attached|shown))[.!?]?$",
)
_BEGINS = re.compile("^" + _any(_DECLINES, _NO_PICTURE, _ERRORS, _MOCKS), re.IGNORECASE)

_ANYWHERE = re.compile(
    _any(
        r"\bas an? (?:ai|artificial intelligence|(?:large )?language model|text[- ](?:based"
        r"|only))\b(?: \w+){0,3},? i\b",
        r"\bi(?:'?m| am) (?:unable|not able) to\b",
        r"\bi (?:can'?t|cannot|can not|don'?t|do not|am unable to) (?:actually |directly |currently |physically "
        r"|really )?"
        rf"(?:see|view|access|process|analy[sz]e|interpret|open|perceive|receive) (?:\w+ ){{0,3}}(?:{_IMG}|visual"
        r"|it\b)",
        r"\b(?:is|are|'s|falls?) (?:beyond|outside) (?:of )?(?:my|what i|this model's)\b",
        r"\bagainst my (?:guidelines|policy|policies|programming)\b",
        r"\b(?:no|not an?|n't an?|n't any) (?:images?|pictures?|photos?) (?:was|were|has been|have been|is"
        r"|are) (?:actually )?"
        r"(?:provided|attached|uploaded|included|shared|supplied|received)\b",
        r"\b(?:you|user) (?:have not|haven't|did not|didn't|forgot to) (?:actually )?"
        r"(?:provided?|attach(?:ed)?|upload(?:ed)?|included?|shared?|sen[dt])\b",
        r"\b(?:image|picture|vision|multi-?modal) inputs? (?:is|are) not (?:supported|available|enabled)\b",
        r"\bdoes not support (?:images?|vision|pictures?|image inputs?|multi-?modal)\b",
    ),
    re.IGNORECASE,
)
# a picture of a text may say anything
_QUOTED = re.compile(
    r"\b(?:says?|saying|reads?|reading|written|words?|text|caption(?:ed)?|titled?|labell?ed|message|sign|shirt)\b|\"",
    re.IGNORECASE,
)

_PLACEHOLDER = re.compile(
    rf"^[\[<({{]+ ?(?:(?:no|insert|your|the|an?) )*(?:{_IMG}|img|description|caption|answer|response|sentence|text"
    r"|object|class"
    r"|name|label|redacted|filtered|blocked|empty|blank|end|pad|unk)"
    r"(?:[ _:.#-]{0,2}(?:of|here|not|is|was|un|placeholder|token|pad|start|end|description|caption|omitted|removed|goes"
    r"|attached|missing|\d)[^\])>}\n]{0,60})?[\])>}]+[.!]?$",
    re.IGNORECASE,
)

_GERMAN = _any(
    r"(?:es )?tut mir leid|entschuldigung|leider (?:kann|ist|sehe|wurde|habe|konnte|liegt)",
    r"ich (?:kann|sehe|habe|konnte|bin) (?:\w+ ){0,4}(?:kein|nicht)|ich bin ein (?:ki|sprach|text)",
    r"es (?:wurde|ist|gibt|scheint) [^.]{0,40}\bkein[^.]{0,20}(?:bild|foto)",
    r"kein bild (?:vorhanden|angehängt|hochgeladen|gefunden|verfügbar|bereitgestellt)",
    r"bitte (?:lade|laden|stelle|stellen|füge|fügen|schick|send|teile)|als (?:ki\b|künstliche|sprachmodell"
    r"|textbasiert)",
)
_FRENCH = _any(
    r"(?:je suis (?:vraiment )?)?désolée?\b|je ne (?:peux|vois|suis|dispose|parviens)|je n'ai (?:pas|aucun)"
    r"|aucune image\b",
    r"il n'y a (?:pas d'image|aucune image)|malheureusement|veuillez|en tant qu|vous n'avez pas|l'image n'(?:est|a)",
    r"il semble qu[^.]{0,40}\b(?:pas|aucune)\b",
)
_SPANISH = _any(
    r"lo siento|lo lamento|disculp|no puedo|no veo|no se (?:ha|puede|adjunt|proporcion)|no hay (?:ninguna )?imagen"
    r"|no has\b",
    r"no tengo|por favor,? (?:proporcion|sub|adjunt|compart|envía|carg)|como (?:modelo|ia\b|asistente|inteligencia)",
    r"como un modelo|lamentablemente|desafortunadamente|parece que no (?:hay|has|se)|la imagen no (?:se|está)",
)
_PORTUGUESE = _any(
    r"desculp|peço desculpas|sinto muito|lamento|não (?:consigo|posso|vejo|há (?:nenhuma )?imagem|tenho|foi)"
    r"|infelizmente",
    r"nenhuma imagem|por favor,? (?:forneça|envie|anexe|carregue|compartilhe)|como um (?:modelo|assistente)",
    r"parece que (?:\w+ ){0,2}(?:não|nenhuma)",
)
_ITALIAN = _any(
    r"mi dispiace|non (?:posso|riesco|vedo|è possibile|è stata|c'è (?:nessuna|alcuna)|ho\b)|purtroppo|nessuna immagine",
    r"per favore,? (?:fornisci|carica|allega|invia)|come (?:modello|assistente|intelligenza)|sembra che non",
)
_OTHERS = _any(
    r"het spijt me|ik (?:kan|zie|heb) (?:\w+ ){0,3}(?:geen|niet)|er is geen (?:afbeelding|foto)|helaas|geen afbeelding",
    r"przepraszam|niestety|nie (?:mogę|widzę)|jag kan (?:inte|tyvärr)|tyvärr|beklager|maaf\b|üzgünüm|xin lỗi",
    r"很?抱歉|对不起|很遗憾|我(?:无法|看不到|不能|没有看到)|无法|看不到|没有(?:看到|提供|上传|收到)?.{0,6}(?:图片|图像|照片)",
    r"您?(?:没有|未)(?:提供|上传)|请(?:提供|上传|您)|作为(?:一个|一名|一种)?(?:AI|人工智能|语言模型|文本)",
    r"申し訳|すみません|ごめん|画像(?:が(?:ありません|見え|添付|提供|表示)|を(?:見る|アップロード|提供|添付))",
    r"죄송|이미지(?:가 (?:없|보이지|첨부|제공)|를 (?:볼|제공|업로드|첨부))",
    r"извините|простите|к сожалению|я не (?:могу|вижу)|изображени[ея] (?:не|отсутств)|пожалуйста,? (?:загруз"
    r"|предостав|пришл)",
)
_FOREIGN = re.compile("^" + _any(_GERMAN, _FRENCH, _SPANISH, _PORTUGUESE, _ITALIAN, _OTHERS), re.IGNORECASE)


def is_refusal(text: str) -> bool:
    """Tell whether an answer, or an item of a list, declines, says that it sees no picture, or is an error or a mock's.

    Args:
        text: an answer without markup; its first 400 characters are looked at.
    """
    said = " ".join(text[:400].split()).translate(_QUOTES).strip("\"' ")
    if _PLACEHOLDER.match(said) or _FOREIGN.match(said):
        return True
    bare = _LEAD.sub("", said)
    if _BEGINS.match(said) or (bare != said and _BEGINS.match(bare)):
        return True
    found = _ANYWHERE.search(said)
    return found is not None and _QUOTED.search(said, 0, found.start()) is None
