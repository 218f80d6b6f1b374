"""The words that tasks are made of: things and people with both their names, and words to spell."""

from random import Random

from groundup.data.tasks.family import Language

_COMMON = """
apple 苹果 banana 香蕉 orange 橙子 grape 葡萄 peach 桃子 lemon 柠檬 tomato 番茄 potato 土豆 bread 面包 cake 蛋糕
cookie 饼干 candy 糖果 egg 鸡蛋 milk 牛奶 coffee 咖啡 juice 果汁 lamp 台灯 clock 时钟 mirror 镜子 box 盒子
basket 篮子 bag 书包 key 钥匙 bell 铃铛 pen 钢笔 pencil 铅笔 ruler 尺子 map 地图 picture 图画 card 卡片
coin 硬币 kite 风筝 piano 钢琴 guitar 吉他 camera 相机 phone 电话 computer 电脑 robot 机器人 bicycle 自行车 hat 帽子
shirt 衬衫 shoe 鞋子 glove 手套 watch 手表 umbrella 雨伞 cup 杯子 plate 盘子 spoon 勺子 bottle 瓶子 towel 毛巾
"""

_HANDY = """
pear 梨 melon 甜瓜 cherry 樱桃 carrot 胡萝卜 onion 洋葱 corn 玉米 bean 豆子 rice 米饭 tea 茶 water 水
soup 汤 salt 盐 sugar 白糖 honey 蜂蜜 flower 花 rose 玫瑰 seed 种子 stone 石头 lock 锁 book 书
paper 纸 letter 信 ball 球 doll 娃娃 drum 鼓 violin 小提琴 radio 收音机 coat 大衣 dress 裙子 sock 袜子
scarf 围巾 ring 戒指 bowl 碗 knife 刀 fork 叉子 pot 锅 brush 刷子 soap 肥皂 comb 梳子 hammer 锤子
nail 钉子 rope 绳子 ladder 梯子 needle 针 button 纽扣 candle 蜡烛 flag 旗子 tent 帐篷 pillow 枕头
"""

_LARGE_OR_ALIVE = """
cat 猫 dog 狗 bird 鸟 fish 鱼 horse 马 cow 奶牛 sheep 绵羊 goat 山羊 pig 猪 chicken 鸡
duck 鸭子 goose 鹅 rabbit 兔子 mouse 老鼠 tiger 老虎 lion 狮子 bear 熊 wolf 狼 fox 狐狸 deer 鹿
monkey 猴子 elephant 大象 camel 骆驼 panda 熊猫 snake 蛇 frog 青蛙 turtle 乌龟 whale 鲸鱼 shark 鲨鱼 bee 蜜蜂
ant 蚂蚁 spider 蜘蛛 eagle 老鹰 owl 猫头鹰 swan 天鹅 crab 螃蟹 tree 树 grass 草 leaf 树叶 forest 森林
river 河流 lake 湖泊 sea 大海 island 岛屿 mountain 高山 hill 小丘 desert 沙漠 sand 沙子 sun 太阳 moon 月亮
star 星星 sky 天空 cloud 云 rain 雨 snow 雪 wind 风 fire 火 ice 冰 road 公路 bridge 桥
tower 塔 castle 城堡 house 房子 garden 花园 farm 农场 school 学校 shop 商店 bank 银行 hotel 旅馆 park 公园
door 门 window 窗户 wall 墙 floor 地板 roof 屋顶 room 房间 kitchen 厨房 table 桌子 chair 椅子 bed 床
car 汽车 bus 公交车 train 火车 plane 飞机 ship 轮船 boat 小船 truck 卡车 rocket 火箭 wheel 车轮 stove 炉子
sofa 沙发
"""

_PEOPLE = """
Tom 小明 Anna 小红 Ben 小华 Lucy 小丽 Max 小刚 Emma 小芳 Sam 小军 Alice 小兰 Leo 小强 Mary 小美 Jack 小龙 Rose 小雪
Paul 小亮 Nina 小燕 Adam 小东 Ella 小云 Mark 小杰 Sara 小梅 Peter 小伟 Julia 小玲 David 小波 Laura 小英 Simon 小林
Helen 小月
"""

_WORDS_EN = """
able about above accept across act actor add adult afraid after again age agree ahead air alarm album alive allow almost
alone
along aloud also always amount angle angry animal answer any appear april area arm army around arrive art ask asleep
attack aunt
autumn awake away baby back bad bake band bar base basic basin bath battle beach beard beat become beef before begin
behind below
belt bend best better beyond big bill birth bite bitter black blade blame blank blind block blood blow blue board body
boil bold
bone boot border born borrow boss both bottom bounce brain branch brave break breath brick bright bring broad broken
broom brown
bubble bucket build bullet burn burst bush busy butter buy cabin cable cage call calm camp canal cancel cannot canvas
cap care
carpet carry case cash catch cattle cause cave cell centre chain chalk chance change chase cheap check cheek cheese
chess chest
chief child chin choice choose circle circus city claim clap class claw clay clean clear clerk clever cliff climb cloth
club coach
coal coast cold collar colour come common cook cool copper copy corner cost cotton couch cough count couple course court
cousin
cover crack craft crash cream create creek crime crop cross crowd crown cruel crust cry curl curve cut cycle daily
damage dance
danger dare dark date dawn day dead deaf deal dear debt decade decide deck deep defend degree delay demand depth detail
devil
diary diet differ dig dinner dirt dish dive divide doctor dozen draft dragon draw dream drift drill drink drive drop dry
dull
during dust duty each early earn earth east easy eat edge effect effort eight either elbow elder empty enable end enemy
engine
enjoy enough enter equal error escape even event ever every exam except excuse exist exit expect extra eye fabric face
fact fade
fail faint fair faith fall false fame family famous far fast fat father fault fear feast fellow female fence fetch fever
few field
fierce fifth fight figure fill film final find fine finger finish firm first fist fit five flame flash flat flesh flight
flock
flood flour flow fly fold follow fond food fool foot force forget form fossil found frame free freeze fresh friend fruit
fuel full
fun funny fur future gain gale game gap garlic gas gate gather gentle ghost giant gift girl give glad glass globe glory
glow glue
goal god gold good govern grab grade grain grand grave great green greet grey grief grin grip ground group grow guard
guess guest
guide guilt gulf gun habit hair half hall hand handle hang happen happy hard harm haste have hawk head heal health heap
hear heart
heat heavy heel height hello help hen herb hero hide high hike hint hire hit hobby hold hole holy home honest honour
hope horn
host hot hour huge human humble hunt hurry hurt idea ideal idle image income inch indeed indoor infant inform injury ink
inner
insect inside invent invite iron item jacket jail jam jar jaw jazz jelly jewel job join joke joy judge jump jungle
junior just
keen keep kick kind king kiss knee knight knock knot know labour lack lady land lane large last late laugh law lay lazy
lead
leader lean learn least leave left leg legal lend length less lesson level liar lid lie life lift light like limb limit
line link
lip liquid listen little live liver load loaf loan local log lonely long look loose lord lose loss loud love low loyal
luck lucky
lunch lung magic mail main major make male manage many marble march marine market marry mask mass master match matter
maybe meal
mean meat medal meet melt member memory mend mental menu mercy mess metal method middle might mile mill mind mine minor
minute
miss mist mix model modern moment money month mood more moss most mother motor mouth move movie much mud mule muscle
museum music
must narrow nation native nature navy near neat neck need nephew nerve nest never new next nice niece night nine noble
nobody
noise noon normal north nose note notice novel now nurse nut oak oath obey object occur ocean odd offer office often oil
old olive
once only open opera orbit order organ other ounce oven over owe own owner oxygen pace pack page pain paint pair palace
pale palm
pan panel panic pants parade parent part party pass past path pause pay peace peak pearl pepper permit person pet phrase
pick
piece pile pilot pine pink pint pipe pitch place plain plan planet plant play please plenty pocket poem poet point
poison pole
police polite pond pool poor port post pound pour powder power praise pray prefer press pretty price pride prince prison
prize
profit proof proper proud prove public pull pulse pump punch pupil pure purple purse push puzzle queen quick quiet quit
quite race
rail raise range rank rare rate raw reach read ready real reason recall record red reduce refuse region relax remain
remind rent
repair repeat reply report rescue rest result return reward rhythm rich ride rifle right rise risk rival roar roast rock
role roll
root rough round route row royal rub rubber rude rug ruin rule run rush sad saddle safe sail salad salary sale salmon
same sauce
save scale scar scene score scout scream screen screw search season seat second secret see seek seem select sell send
senior sense
series serve set seven shade shadow shake shame shape share sharp shave shed shelf shell shine shock shoot shore short
should
shout show shower shut shy sick side sight sign signal silent silk silver simple sin since sing single sink sister sit
size skate
skill skin skirt skull sleep slice slide slip slow small smart smell smile smoke smooth snail soccer social soft soil
solid solve
son song soon sorry sort soul sound sour south space spare speak speed spell spend spice spin spirit split sport spot
spread
spring square squash stable staff stage stair stamp stand starve state statue stay steady steak steal steam steel steep
stem step
stick stiff still sting stir stock stop storm story straw stream street stress strike string strong study stupid style
sudden
suffer suit summer supper supply sure sweat sweep sweet swell swift swim swing sword symbol system tail take tale talk
tall tank
tap target task taste tax teach team tear teeth tell temple tender tennis tense term test thank theft thick thief thin
thing think
third thirst thread three throat throne throw thumb ticket tide tidy tie tight tiny tip title toast today toe tone
tongue tool
tooth top topic torch total touch tough tour town toy track trade trail trap travel tray treat trial tribe trick trip
troop trophy
true model trust truth try tube tune tunnel turn twice twin twist type tyre ugly uncle under unit unite until upon upper
upset
urban urge use useful usual valley value van vast vein velvet verb very vest victim view violet visit voice volume vote
voyage
wage waist wait wake walk wander want war warm warn wash waste wave wax way weak wealth weapon wear weave web week weigh
well west
wet wheat where whip white whole wide wife wild will willow win wine wing winter wipe wire wise wish witch within woman
wonder
wood wool word work world worm worry worth wound wrap wreck wrist write wrong yard yawn year yell yellow yes yet young
youth zebra
zero zone
"""

_WORDS_ZH = """
大人 大小 大学 大家 大地 大方 大会 大力 大气 大风 大路 大事 大水 大火 小人 小心 小学 小时 小路 小事 小说 小气 人生 人心
人口 人家 人力 人事 人物 学生 学年 学会 学力 生日 生活 生气 生物 生长 生动 工人 工作 工会 工地 工业 天气 天地 天上 天下
天生 天文 日本 日出 日用 日光 水力 水手 水分 水路 水面 火力 火山 火光 电车 电力 电工 电动 车手 车间 车头 手工 手心 手法
手动 心情 心意 心思 心理 心事 家人 家事 家长 家用 家电 国家 国人 国会 国力 国外 中国 中学 中年 中心 中间 中文 中午 上学
上山 上车 上面 上方 上午 上海 下车 下面 下山 下方 下午 下雨 开会 开学 开车 开心 开发 开口 开工 出国 出发 出口 出生 行动
行人 行车 行走 动物 动作 动力 动人 动手 动心 力气 力量 气力 风力 风气 风水 风光 山水 山风 山路 山地 山口 海风 海水 海口
海面 海外 时间 时事 时光 年会 年老 年长 分心 分明 分开 分手 会心 会长 书本 书法 书面 书信 书店 文学 文明 文化 文人 文物
文字 本人 本事 本地 本国 本年 本来 事情 事物 事理 物理 物品 发明 发生 发动 发行 发电 发出 成人 成年 成长 成家 成事 成分
长年 长大 长方 长老 高大 高手 高中 高明 高地 明天 明年 明白 美好 美人 美国 美化 好人 好心 好事 好用 好看 新年 新人 新手
新家 新生 新书 新车 老人 老大 老家 老手 老年 老化 头上 头发 口气 口头 口水 口语 面上 面前 路上 路人 路口 路面 地方 地上
地下 地面 地理 地心 方法 方面 法国 法人 理想 理发 想法 想到 感动 感情 感人 感想 情感 情人 情理 意思 意见 意外 思想 信心
信用 作用 作家 作文 作法 作品 用心 用力 用法 用人 用品 活动 活力 活用 外国 外语 外面 外出 外地 前面 前方 前天 后面 后方
后天 后来 前后 白天 白云 白水 光明 来信 来到 来年 到来 到家 回家 回来 回国 回信 回头 走路 走动 看书 看见 看到 见面 听见
听说 听力 说明 语文 英语 英文 英国 名字 名人 有名 有时 有用 有力 有人 主人 主要 主动 要点 重要 重点 重新 点心 点头 数学
数字 数量 量力 平时 平安 平地 公平 公开 公家 安心 安家 安全 全家 全国 全面 全力 自动 自家 自学 同学 同时 同意 女子 女人
男人 男子 男女 午饭 晚饭 晚上 晚会 饭店 店主 业主 作业 开业 人民 民间 民主 主意 医生 医学 医书 中医 药水 药店 医药 中药
草药 草地 青草 青年 青春 春天 春风 春雨 雨水 雨天 空气 空中 空间 日子 云海 风雨 风云 药品 大年 大车 大山 大手 大雨 大头
小雨 小车 小手 小山 小口 小国 天国 天明 天意 天理 天时 日后 水上 水下 水中 水车 水电 水平 火海 山上 山下 山中 海上 海中
海路 风车 风头 风行 车上 车下 手上 手下 手头 手书 心中 心上 心头 心力 心地 人工 人面 人情 人间 人文 家中 家法 家书 国事
国法 国学 国语 国民 中方 书中 书生 学家 学业 生火 生手 生前 生平 工头 工时 文书 文法 文理 事后 事前 事主 事业 理事 理学
理工 后人 前人 后手 中用 中看 地主 路中 出山 出海 出手 出面 出力 出名 出动 行业 行书 开头 开路 开山 开明 动用 力学 用手
用水 用电 平手 平日 平年 平面 平民 明日 明理 白日 白手 年头 年中 年前 年后 头年 面子 面生 长生 长工 老子 老生 老天 高见
高人 好手 好学 好意 好感 美意 美学 新意 情面 情意 意想 想见 信手 语气 语感 语法 听信 看中 看好 来人 来日 来头 来路
"""


def _pairs(text: str) -> dict[str, str]:
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


HANDY = _pairs(_COMMON) | _pairs(_HANDY)
"""Things that a person can have and give: English noun -> Chinese noun. The most common come first."""

THINGS = HANDY | _pairs(_LARGE_OR_ALIVE)
"""English noun -> Chinese noun."""

PEOPLE = _pairs(_PEOPLE)
"""English given name -> Chinese given name."""

WORDS: dict[Language, tuple[str, ...]] = {"en": tuple(_WORDS_EN.split()), "zh": tuple(_WORDS_ZH.split())}
"""Words to spell, for each language its own: letters of one word, characters of the other."""

_THING_NAMES, _HANDY_NAMES, _PEOPLE_NAMES = tuple(THINGS), tuple(HANDY), tuple(PEOPLE)
_FEW = _THING_NAMES[:24]  # at level 1: the fewer words, the sooner each is learned
_CHINESE = THINGS | PEOPLE


def things(rng: Random, count: int, level: int) -> list[str]:
    """Different things, by their English names; at level 1 from a few that are handy, too."""
    return rng.sample(_FEW if level == 1 else _THING_NAMES, count)


def handy_things(rng: Random, count: int) -> list[str]:
    """Different things that a person can have and give, by their English names."""
    return rng.sample(_HANDY_NAMES, count)


def people(rng: Random, count: int) -> list[str]:
    """Different people, by their English names."""
    return rng.sample(_PEOPLE_NAMES, count)


def named(word: str, language: Language) -> str:
    """A thing or a person in a language, from the English name; digits stay digits."""
    return word if language == "en" or word.isdigit() else _CHINESE[word]
